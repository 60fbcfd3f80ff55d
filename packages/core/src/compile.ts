import { currentDevice, type Buffer, type Device } from "./device.ts"
import { fail, showShape } from "./errors.ts"
import { buildProgram, loadProgram, runProgram, showProgram, unloadProgram, type Loaded } from "./program.ts"
import { allocate, checkOperands, deviceOf, realize } from "./realize.ts"
import { apply, fromStorage, Tensor, type Op } from "./tensor.ts"
import { mapTree, tensorsOf, walkTree, type Composed } from "./tree.ts"

const inputOp: Op<{ of: Tensor }> = {
  name: "input",
  meaning: { leaf: "input" },
  result: (_, { of }) => ({ shape: of.shape, dtype: of.dtype }),
}
const scalarOp: Op<"f32" | "i32"> = {
  name: "scalar",
  meaning: { leaf: "scalar" },
  result: (_, dtype) => ({ shape: [], dtype }),
}

export interface CompileOptions {
  /** Arguments (by position) whose tensors are disposed after each call: the old parameters of a training step. */
  readonly donate?: readonly number[]
}

/** A captured function: `await step(…)` replays its program. */
export interface Compiled<A extends readonly unknown[], R> {
  (...args: A): Promise<R>
  /** Programs captured so far, one per combination of argument shapes and dtypes. */
  readonly programs: number
  /** The printed programs. */
  show(): string
  /** Releases the programs' temporary memory; a later call captures anew. */
  dispose(): void
}

type Captured<R> = { loaded: Loaded; leaves: Tensor[]; placeholders: Tensor[]; scalars: Tensor[]; outputs: Tensor[]; result: R }
/** What a compiled function's body sees: numbers and bigints arrive as 0-d tensors. */
export type Traced<T> = T extends number | bigint ? Tensor : T extends Tensor ? Tensor
  : T extends Composed | ((...args: never[]) => unknown) ? T : T extends readonly (infer U)[] ? Traced<U>[] : T extends object ? { [K in keyof T]: Traced<T[K]> } : T

/** What may be passed where a compiled function's body takes `T`: a number wherever it takes a tensor. */
export type Passed<T> = T extends Tensor ? Tensor | number | bigint
  : T extends Composed | ((...args: never[]) => unknown) ? T : T extends object ? { [K in keyof T]: Passed<T[K]> } : T

/**
 * Captures `fn` once per combination of argument shapes (and of which arguments are the same tensor) and replays it.
 * Arguments are trees of tensors and numbers; numbers (f32) and bigints (i32) are run-time scalars: `fn` sees them as
 * 0-d tensors, and another value needs no new capture. Everything else must be the same on every call, for `fn` is not
 * run again. Results are stored tensors.
 */
export function compile<F extends (...args: never[]) => unknown>(fn: F, options?: CompileOptions): Compiled<Passed<Parameters<F>> & readonly unknown[], ReturnType<F>>
export function compile<A extends readonly unknown[], R>(fn: (...args: { [K in keyof A]: Traced<A[K]> }) => R, options?: CompileOptions): Compiled<A, R>
export function compile<A extends readonly unknown[], R>(fn: (...args: { [K in keyof A]: Traced<A[K]> }) => R, options: CompileOptions = {}): Compiled<A, R> {
  const cache = new Map<string, Promise<Captured<R>>>()

  const call = async (...args: A): Promise<R> => {
    // A tensor at two places (tied weights) is one argument, inside as outside.
    const tensors = [...new Set(tensorsOf(args))]
    const numbers = numbersOf(args)
    for (const t of tensors) if (t.disposed) fail("disposed", "compile", `an argument, ${t.dtype}${showShape(t.shape)}, was disposed`)
    const unstored = tensors.filter((t) => t.storage === undefined)
    if (unstored.length > 0) await realize(...unstored)
    const device = tensors.length > 0 ? deviceOf("compile", tensors) : currentDevice()
    const key = signature(args, device)
    let captured = cache.get(key)
    if (captured === undefined) {
      captured = capture(fn as (...args: unknown[]) => R, args, device)
      cache.set(key, captured)
      captured.catch(() => cache.delete(key))
    }
    const c = await captured
    const bound = new Map<Tensor, Buffer>(c.placeholders.map((p, i) => [p, tensors[i]!.storage!.buffer]))
    const values = new Map<Tensor, number>(c.scalars.map((s, i) => [s, numbers[i]!]))
    const storages = allocate(device, c.outputs.map((o) => o.bytes))
    try {
      await runProgram(c.loaded, { outputs: storages.map((s) => s.buffer), leaves: c.leaves, input: (t) => bound.get(t)!, scalar: (t) => values.get(t)! })
    } catch (e) {
      for (const s of storages) device.free(s.buffer)
      throw e
    }
    const made = new Map(c.outputs.map((o, i) => [o, fromStorage(storages[i]!, o.shape, o.dtype)]))
    for (const i of options.donate ?? []) for (const t of tensorsOf(args[i])) t.dispose()
    return mapTree(c.result, (t) => made.get(t) ?? t)
  }
  const compiled = call as Compiled<A, R> & { programs: number }
  Object.defineProperty(compiled, "programs", { get: () => cache.size })
  let shown: string[] = []
  compiled.show = () => shown.join("\n\n")
  compiled.dispose = () => {
    for (const c of cache.values()) void c.then(({ loaded }) => unloadProgram(loaded), () => {})
    cache.clear()
    shown = []
  }

  async function capture(body: (...args: unknown[]) => R, args: A, device: Device): Promise<Captured<R>> {
    const inputs = new Map<Tensor, Tensor>(), scalars: Tensor[] = []
    const traced = walkTree(args, (leaf) => {
      if (leaf instanceof Tensor) {
        const known = inputs.get(leaf)
        if (known !== undefined) return known
        const p = new Tensor(inputOp as Op, [], { of: { shape: leaf.shape, dtype: leaf.dtype } }, leaf.shape, leaf.dtype, device)
        inputs.set(leaf, p)
        return p
      }
      if (typeof leaf !== "number" && typeof leaf !== "bigint") return leaf
      const s = apply(scalarOp, [], typeof leaf === "bigint" ? "i32" : "f32")
      scalars.push(s)
      return s
    }) as unknown[]
    const result = body(...traced)
    if (result instanceof Promise) fail("value", "compile", "the function must not be async", "nothing is computed while it is captured")
    const outputs = [...new Set(tensorsOf(result))].filter((t) => t.storage === undefined)
    checkOperands(outputs)
    const { program, leaves } = buildProgram(outputs, device)
    shown.push(showProgram(program))
    return { loaded: await loadProgram(program, device), leaves, placeholders: [...inputs.values()], scalars, outputs, result }
  }
  return compiled
}

function numbersOf(args: unknown): number[] {
  const out: number[] = []
  walkTree(args, (leaf) => {
    if (typeof leaf === "number" || typeof leaf === "bigint") out.push(Number(leaf))
    return leaf
  })
  return out
}

/** What must be equal for a captured program to fit: the tree's paths, forms, shapes and dtypes, and all other leaves. */
function signature(args: unknown, device: Device): string {
  let key = device.name
  const seen = new Map<Tensor, number>()
  walkTree(args, (leaf, path) => {
    key += `;${path}=`
    if (leaf instanceof Tensor) {
      if (!seen.has(leaf)) seen.set(leaf, seen.size)
      key += `${leaf.dtype}[${leaf.shape.join()}]#${seen.get(leaf)}`
    }
    else key += typeof leaf === "number" || typeof leaf === "bigint" ? typeof leaf : `${typeof leaf} ${String(leaf)}`
    return leaf
  }, "", ({ form }, path) => (key += `;${path}:${form}`))
  return key
}
