import { currentDevice, type Device } from "./device.ts"
import { fail, showShape } from "./errors.ts"
import { programFor } from "./cache.ts"
import { allocateAll, loadProgram, runProgram, showProgram, unloadProgram } from "./program.ts"
import { adopt, checkTensor, reader, type Storage, type Tensor } from "./tensor.ts"
import { Walk } from "./visits.ts"

function pendingOf(op: string, tensors: readonly Tensor[]): Tensor[] {
  for (const t of tensors) checkTensor(op, t, `spread the tensors of a tree: ${op}(...tensorsOf(tree))`)
  for (const t of tensors) if (t.disposed) fail("disposed", op, `${t.dtype}${showShape(t.shape)} was disposed`)
  return [...new Set(tensors)].filter((t) => t.storage === undefined)
}

/** Allocates memory for each tensor's value; nothing stays allocated if one allocation fails. */
export const allocate = (device: Device, sizes: readonly number[]): Storage[] =>
  allocateAll(device, sizes).map((buffer, i) => ({ device, buffer, bytes: sizes[i]! }))

async function compute(tensors: readonly Tensor[]): Promise<void> {
  const pending = pendingOf("realize", tensors)
  if (pending.length === 0) return
  const device = deviceOf("realize", pending)
  const { program, leaves } = programFor(pending, device)
  const loaded = await loadProgram(program, device)
  try {
    const storages = allocate(device, pending.map((t) => t.bytes))
    try {
      const outside = (t: Tensor): never => fail("value", "realize", `an argument of a compiled or mapped function (${t.op.name} ${t.dtype}${showShape(t.shape)}) has no value while it is captured`, "return it, and read the result")
      await runProgram(loaded, { outputs: storages.map((s) => s.buffer), leaves, input: outside, scalar: outside })
    } catch (e) {
      for (const s of storages) device.free(s.buffer)
      throw e
    }
    pending.forEach((t, i) => {
      // Another reader may have computed it, or its owner dropped it, while kernels were being prepared.
      if (t.storage !== undefined || t.disposed) device.free(storages[i]!.buffer)
      else adopt(t, storages[i]!)
    })
  } finally {
    unloadProgram(loaded)
  }
}
reader.realize = compute

/** The device that computes a set of tensors: the one that holds what they read, or the current one. */
export const deviceOf = (op: string, outputs: readonly Tensor[]): Device => holderOf(op, outputs) ?? currentDevice()

/**
 * @internal The device that holds what a set of tensors is computed from, if any does. What was disposed, or lies on
 * another device, is an error of the call that needs it, wherever it hides in the graph.
 */
export function holderOf(op: string, outputs: readonly Tensor[]): Device | undefined {
  let device: Device | undefined
  const walk = new Walk()
  const stack = [...outputs]
  while (stack.length > 0) {
    const t = stack.pop()!
    if (walk.numberOf(t) >= 0) continue
    walk.meet(t)
    if (t.disposed) fail("disposed", op, `an operand, ${t.dtype}${showShape(t.shape)} made by ${t.op.name}, was disposed before it was used`, "realize results before disposing their operands")
    if (t.device !== undefined && t.device !== (device ??= t.device)) fail("device", op, `tensors live on ${device.name} and ${t.device.name}`, "move some with .to(device), or realize them separately")
    if (t.storage === undefined) for (const s of t.sources) stack.push(s)
  }
  return device
}

/**
 * Computes tensors together, in one program, and cuts them from the graph they came from: afterwards they are plain
 * values, and `grad` no longer sees through them. (`data()` computes without cutting.)
 */
export async function realize(...tensors: readonly Tensor[]): Promise<void> {
  await compute(tensors)
  for (const t of tensors) t.sources = []
}

/** The program that would compute these tensors, printed: one line per kernel, and the memory plan. */
export function explain(...tensors: readonly Tensor[]): string {
  const pending = pendingOf("explain", tensors)
  return pending.length === 0 ? "nothing to compute" : showProgram(programFor(pending, deviceOf("explain", pending)).program)
}
