import { currentDevice, type Buffer, type Device } from "./device.ts"
import { fail, showShape } from "./errors.ts"
import { buildProgram, loadProgram, runProgram, showProgram, unloadProgram, type Loaded, type Program, type Value } from "./program.ts"
import { take } from "./memory.ts"
import { allocate, deviceOf, holderOf, realize } from "./realize.ts"
import { signatureOf } from "./signature.ts"
import { apply, fromStorage, Tensor, type Op, type Storage } from "./tensor.ts"
import { rebuildTree, tensorsOf, walkTree, type Composed } from "./tree.ts"

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
  /**
   * Arguments (by position) whose tensors are disposed by each call: the old parameters of a training step. A tensor that
   * the result is an `updateSlice` of (a cache) is updated in place where nothing else reads it.
   */
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

interface Captured<R> {
  readonly loaded: Loaded
  readonly leaves: readonly Tensor[]
  /** Which argument a tensor of the graph stands for, and which number a run-time scalar. */
  readonly inputs: ReadonlyMap<Tensor, number>
  readonly scalars: ReadonlyMap<Tensor, number>
  readonly outputs: readonly Tensor[]
  /** Which output a tensor of the result is. */
  readonly places: ReadonlyMap<Tensor, number>
  /** Which argument an output takes its memory from; undefined for memory of its own. */
  readonly over: readonly (number | undefined)[]
  readonly result: R
  /** Ends with the last run begun: runs share the program's temporaries, and a routine makes a run wait in its midst. */
  running: Promise<unknown>
}

/** By the hash of the arguments' structure, or the next free number. */
type Programs<R> = Map<number, { readonly words: Int32Array; readonly captured: Promise<Captured<R>> }>
function unload(programs: Programs<unknown>): void {
  for (const { captured } of programs.values()) void captured.then(({ loaded, running }) => running.then(() => unloadProgram(loaded)), () => {})
  programs.clear()
}
/** Nobody can call a function that was dropped, so its programs' memory goes, too. */
const net = new FinalizationRegistry<Programs<unknown>>(unload)

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
  if (typeof fn !== "function") fail("value", "compile", `needs a function, got ${typeof fn}`)
  for (const i of options.donate ?? []) if (!Number.isInteger(i) || i < 0) fail("value", "compile", `donate names arguments by position, got ${i}`)
  const cache: Programs<R> = new Map()

  const call = async (...args: A): Promise<R> => {
    for (const i of options.donate ?? []) if (i >= args.length) fail("value", "compile", `argument ${i} is donated, and there are ${args.length}`)
    const { tensors, numbers, structure } = signatureOf(args)
    if (tensors.some((t) => t.op === inputOp)) fail("value", "compile", "a compiled function was called while another is captured", "call the plain function there")
    for (const t of tensors) if (t.disposed) fail("disposed", "compile", `an argument, ${t.dtype}${showShape(t.shape)}, was disposed`)
    const unstored = tensors.filter((t) => t.storage === undefined)
    if (unstored.length > 0) await realize(...unstored)
    const device = tensors.length > 0 ? deviceOf("compile", tensors) : currentDevice()
    structure.addIdentity(device)
    let key = structure.hash(), known = cache.get(key)
    while (known !== undefined && !structure.equals(known.words)) known = cache.get(++key)
    if (known === undefined) {
      cache.set(key, (known = { words: structure.copy(), captured: capture(fn as (...args: unknown[]) => R, args, device) }))
      known.captured.catch(() => cache.delete(key))
    }
    const c = await known.captured
    const input = (p: Tensor): Buffer => stored(tensors[c.inputs.get(p)!]!).storage!.buffer
    const run = async (): Promise<Storage[]> => {
      for (const n of c.over) if (n !== undefined) stored(tensors[n]!)
      const own = c.outputs.filter((_, i) => c.over[i] === undefined), fresh = allocate(device, own.map((o) => o.bytes))
      const storages: Storage[] = []
      try {
        // A run that fails may have written to them, so that it has them, too.
        for (const n of c.over) storages.push(n === undefined ? fresh.shift()! : take(tensors[n]!))
        await runProgram(c.loaded, { outputs: storages.map((s) => s.buffer), leaves: c.leaves, input, scalar: (t) => numbers[c.scalars.get(t)!]! })
        return storages
      } catch (e) {
        for (const s of [...storages, ...fresh]) device.free(s.buffer)
        throw e
      }
    }
    const ran = hasRoutine(c.loaded) ? c.running.then(run) : run()
    c.running = ran.catch(() => {})
    const storages = await ran
    const made = c.outputs.map((o, i) => fromStorage(storages[i]!, o.shape, o.dtype))
    for (const i of options.donate ?? []) for (const t of tensorsOf(args[i])) t.dispose()
    return rebuildTree(c.result, (t) => {
      const place = c.places.get(t)
      return place === undefined ? kept(t) : made[place]
    })
  }
  const compiled = call as Compiled<A, R> & { programs: number }
  Object.defineProperty(compiled, "programs", { get: () => cache.size })
  net.register(compiled, cache)
  let shown: Program[] = []
  compiled.show = () => shown.map(showProgram).join("\n\n")
  compiled.dispose = () => {
    unload(cache)
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
    if (result instanceof Promise) {
      // Whatever becomes of it is not what went wrong.
      result.catch(() => {})
      fail("value", "compile", "the function must not be async", "nothing is computed while it is captured")
    }
    walkTree(result, (leaf, path) => {
      if (!(leaf instanceof Promise)) return leaf
      leaf.catch(() => {})
      return fail("value", "compile", `the result has a promise at '${path}'`, "nothing is computed while it is captured")
    })
    const outputs = [...new Set(tensorsOf(result))].filter((t) => t.storage === undefined)
    const held = holderOf("compile", outputs) ?? device
    if (held !== device) fail("device", "compile", `the arguments live on ${device.name}, what the function captured on ${held.name}`, "move one with .to(device)")
    const donated = new Set(tensorsOf((options.donate ?? []).map((i) => traced[i])))
    const { program, leaves } = buildProgram(outputs, device, donated)
    shown.push(program)
    const places = placesOf([...inputs.values()])
    const over = new Array<number | undefined>(outputs.length).fill(undefined)
    for (const v of program.values) if (v.kind === "output" && v.over !== undefined) over[v.output] = places.get((program.values[v.over] as Value & { kind: "input" }).input)
    return { loaded: await loadProgram(program, device), leaves, inputs: places, scalars: placesOf(scalars), outputs, places: placesOf(outputs), over, result, running: Promise.resolve() }
  }
  return compiled
}

const placesOf = (tensors: readonly Tensor[]): Map<Tensor, number> => new Map(tensors.map((t, i) => [t, i]))

const hasRoutine = ({ program }: Loaded): boolean => program.steps.some((s) => s.kind === "routine")

/** An argument that has its memory when the function runs. */
function stored(t: Tensor): Tensor {
  return t.storage === undefined ? fail("disposed", "compile", `an argument, ${t.dtype}${showShape(t.shape)}, was disposed before the function ran`, "was it donated to another call?") : t
}

/** A stored tensor that the function captured and returns as it is. */
function kept(t: Tensor): Tensor {
  if (t.disposed) fail("disposed", "compile", `${t.dtype}${showShape(t.shape)}, which the function captured and returns, was disposed`, "return a copy: t.add(0)")
  return t
}
