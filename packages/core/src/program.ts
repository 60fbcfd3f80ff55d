import type { Buffer, Call, Device, Executable } from "./device.ts"
import { bytesOf, dtypes, type DType, type TypedArray } from "./dtype.ts"
import { fail, showShape } from "./errors.ts"
import type { Node } from "./graph.ts"
import { showKernel, type Kernel } from "./kernel.ts"
import { schedule } from "./schedule.ts"
import { sizeOf, type Shape } from "./shape.ts"
import { sharedLowering } from "./sharing.ts"
import { elementsOf, Tensor, type Host } from "./tensor.ts"
import { inWaves } from "./waves.ts"

/** Where a value of a program lives: a stored tensor or literal it reads, an argument, a temporary's place, or an output. */
export type Value =
  | { readonly kind: "leaf"; readonly leaf: number }
  | { readonly kind: "input"; readonly input: Tensor }
  | { readonly kind: "temporary"; readonly place: number; readonly bytes: number }
  | { readonly kind: "output"; readonly output: number; readonly bytes: number; /** The argument, by its value's number, whose memory it takes over. */ readonly over?: number }

export type Step =
  | { readonly kind: "kernel"; readonly kernel: Kernel; readonly values: readonly number[]; readonly scalars: readonly Tensor[] }
  | { readonly kind: "routine"; readonly node: Tensor; readonly values: readonly number[]; readonly sources: readonly Omit<Host, "data">[] }

/** A scheduled graph: what runs, in which order, over which memory. Printable with {@link showProgram}. */
export interface Program {
  readonly steps: readonly Step[]
  readonly values: readonly Value[]
  /** Bytes of the memory shared by temporaries whose lives do not overlap. */
  readonly places: readonly number[]
  /** The wave of each step, for devices that queue work: no step reads or overwrites what another one of its wave writes. */
  readonly waves?: readonly number[]
}

/**
 * Schedules, lowers and plans memory. Outputs must be distinct and not stored yet; of `donated` arguments some may give one
 * their memory. `leaves` are the stored tensors and literals it reads.
 */
export function buildProgram(outputs: readonly Tensor[], device: Device, donated?: ReadonlySet<Tensor>): { program: Program; leaves: Tensor[] } {
  const plan = schedule(outputs, device, donated)
  const over = new Map(plan.groups.map((g) => [g.root, g.over]))
  const outputOf = new Map(plan.outputs.map((o, i) => [o, i]))
  const leaves: Tensor[] = []
  const values: Value[] = []
  const valueOf = (node: Node): Value => {
    const { tensor, kind } = node, target = over.get(node)
    if (kind !== "value") {
      checkStorable(tensor.op.name, tensor.shape, tensor.dtype, device)
      const output = outputOf.get(node)
      return output === undefined ? { kind: "temporary", place: -1, bytes: tensor.bytes } : { kind: "output", output, bytes: tensor.bytes, ...(target && { over: numberOf(target) }) }
    }
    const isLeaf = tensor.storage !== undefined || elementsOf(tensor) !== undefined
    return isLeaf ? { kind: "leaf", leaf: leaves.push(tensor) - 1 } : { kind: "input", input: tensor }
  }
  const numbers = new Map<Node, number>()
  const numberOf = (node: Node): number => {
    let n = numbers.get(node)
    if (n === undefined) numbers.set(node, (n = values.push(valueOf(node)) - 1))
    return n
  }
  const lower = sharedLowering()
  const steps = plan.groups.map((group): Step => {
    const { tensor, kind, sources } = group.root
    if (kind === "routine") return { kind, node: withoutSources(tensor), values: [group.root, ...sources].map(numberOf), sources: sources.map(({ tensor: { shape, dtype } }) => ({ shape, dtype })) }
    const { kernel, inputs, scalars } = lower(group)
    return { kind: "kernel", kernel, values: [group.root, ...inputs].map(numberOf), scalars: scalars.map((s) => s.tensor) }
  })
  if (device.queued !== true) return { program: planMemory(steps, values), leaves }
  const ordered = inWaves(steps, values)
  return { program: { ...planMemory(ordered.steps, values, ordered.waves), waves: ordered.waves }, leaves }
}

/** Kernels count elements in 32 bits, and devices bound their buffers. */
export function checkStorable(op: string, shape: Shape, dtype: DType, device: Device): void {
  const size = sizeOf(shape), bytes = size * bytesOf(dtype)
  if (size < 2 ** 31 && bytes <= device.limits.bufferBytes) return
  const most = size < 2 ** 31 ? `${device.limits.bufferBytes} bytes, got ${bytes}` : `2147483647 elements, got ${size}`
  fail("memory", op, `${dtype}${showShape(shape)} cannot be stored: the ${device.name} device takes at most ${most}`, "compute in smaller pieces")
}

/** What a routine needs to know of its node; programs outlive the graphs they were made from. */
const withoutSources = (t: Tensor): Tensor => new Tensor(t.op, [], t.attrs, t.shape, t.dtype, t.device)

/** Gives temporaries with disjoint lives the same memory: best fit among the free places, in program order. A wave ends as one. */
function planMemory(steps: readonly Step[], values: readonly Value[], waves?: readonly number[]): Program {
  const last = new Int32Array(values.length)
  steps.forEach((s, i) => s.values.forEach((v) => (last[v] = i)))
  const places: number[] = []
  const free: number[] = [], ending: number[] = []
  const placed = [...values]
  steps.forEach((step, i) => {
    if (waves === undefined || waves[i] !== waves[i - 1]) free.push(...ending.splice(0))
    const out = step.values[0]!
    const value = placed[out]!
    if (value.kind === "temporary") {
      let best = -1
      for (const p of free) if (places[p]! >= value.bytes && (best < 0 || places[p]! < places[best]!)) best = p
      // A place far larger than needed stays free for what needs it.
      if (best < 0 || places[best]! > 4 * value.bytes + 4096) best = places.push(value.bytes) - 1
      else free.splice(free.indexOf(best), 1)
      placed[out] = { ...value, place: best }
    }
    for (const v of step.values) {
      const ended = placed[v]!
      if (ended.kind !== "temporary" || last[v] !== i) continue
      ending.push(ended.place)
      // A routine may read it twice.
      last[v] = -1
    }
  })
  return { steps, values: placed, places }
}

/** A program ready to run on a device, with its temporaries allocated. */
export interface Loaded { readonly program: Program; readonly device: Device; readonly executables: readonly (Executable | undefined)[]; readonly temporaries: readonly Buffer[] }

/** Allocates memory of these sizes; nothing stays allocated if one allocation fails. */
export function allocateAll(device: Device, sizes: readonly number[]): Buffer[] {
  const made: Buffer[] = []
  try {
    for (const bytes of sizes) made.push(device.alloc(bytes))
  } catch (e) {
    for (const b of made) device.free(b)
    throw e
  }
  return made
}

export async function loadProgram(program: Program, device: Device): Promise<Loaded> {
  const kernels = program.steps.flatMap((s) => (s.kind === "kernel" ? [s.kernel] : []))
  const ready = await device.prepare(kernels)
  let n = 0
  const executables = program.steps.map((s) => (s.kind === "kernel" ? ready[n++] : undefined))
  return { program, device, executables, temporaries: allocateAll(device, program.places) }
}

export function unloadProgram(loaded: Loaded): void {
  for (const b of loaded.temporaries) loaded.device.free(b)
}

/** What a program is run with. */
export interface Bindings {
  readonly outputs: readonly Buffer[]
  readonly leaves: readonly Tensor[]
  /** Memory of an argument. */
  input(t: Tensor): Buffer
  /** Value of a run-time scalar. */
  scalar(t: Tensor): number
}

const noScalars: readonly number[] = []

export async function runProgram(loaded: Loaded, { outputs, leaves, input, scalar }: Bindings): Promise<void> {
  const { program, device, executables, temporaries } = loaded
  const uploaded = new Map<number, Buffer>()
  const leaf = (n: number): Buffer => {
    const t = leaves[n]!
    const known = t.storage?.buffer ?? uploaded.get(n)
    if (known !== undefined) return known
    const data = elementsOf(t)
    if (data === undefined) fail("disposed", "run", `${t.dtype}${showShape(t.shape)}, which this program reads, was disposed`, "keep what a compiled function captures, or pass it as an argument")
    const buffer = device.alloc(data.byteLength)
    uploaded.set(n, buffer)
    device.write(buffer, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    return buffer
  }
  const bufferOf = (n: number): Buffer => {
    const v = program.values[n]!
    return v.kind === "leaf" ? leaf(v.leaf) : v.kind === "input" ? input(v.input) : v.kind === "output" ? outputs[v.output]! : temporaries[v.place]!
  }
  let calls: Call[] = []
  try {
    for (let i = 0; i < program.steps.length; i++) {
      const step = program.steps[i]!
      // Plain loops: a program runs once per token, and closures and iterators would be most of what it leaves behind.
      const buffers: Buffer[] = new Array(step.values.length)
      for (let n = 0; n < buffers.length; n++) buffers[n] = bufferOf(step.values[n]!)
      if (step.kind === "kernel") calls.push({ executable: executables[i]!, buffers, scalars: step.scalars.length === 0 ? noScalars : step.scalars.map(scalar), wave: program.waves?.[i] })
      else {
        device.run(calls)
        calls = []
        await runRoutine(step, buffers, device)
      }
    }
    device.run(calls, calls.length === program.steps.length ? program : undefined)
  } finally {
    for (const b of uploaded.values()) device.free(b)
  }
}

async function runRoutine(step: Step & { kind: "routine" }, buffers: readonly Buffer[], device: Device): Promise<void> {
  const hosts: Host[] = []
  for (let i = 0; i < step.sources.length; i++) {
    const { shape, dtype } = step.sources[i]!
    const size = sizeOf(shape)
    const bytes = await device.read(buffers[i + 1]!, size * bytesOf(dtype))
    hosts.push({ shape, dtype, data: new dtypes[dtype].array(bytes.buffer, bytes.byteOffset, size) })
  }
  const meaning = step.node.op.meaning as { routine(src: readonly Host[], node: Tensor, attrs: unknown): TypedArray }
  const result = meaning.routine(hosts, step.node, step.node.attrs)
  device.write(buffers[0]!, new Uint8Array(result.buffer, result.byteOffset, result.byteLength))
}

/** One line per step: the value it makes, its kernel, the values it reads. */
export function showProgram({ steps, values, places }: Program): string {
  const name = (n: number): string => {
    const v = values[n]!
    return v.kind === "temporary" ? `t${v.place}` : v.kind === "output" ? `out${v.output}` : v.kind === "input" ? `in${n}` : `b${n}`
  }
  const lines = steps.map((s) => {
    const [out, ...rest] = s.values
    const what = s.kind === "kernel" ? showKernel(s.kernel) : `routine ${s.node.op.name}`
    const value = values[out!]!, over = value.kind === "output" && value.over !== undefined ? ` over ${name(value.over)}` : ""
    return `${name(out!)}${over} = ${what} (${rest.map(name).join(", ")})`
  })
  return [...lines, `places: ${places.join(" ") || "none"}`].join("\n")
}
