import { evaluator, fail, showKernel, sizeOf, ThimbleError, type Call, type Device, type Evaluate, type Executable, type Kernel } from "@thimble/core"
import { emitKernel, exactPositions, isWide, type Argument, type EmitOptions, type Source } from "./emit.ts"
import { inNode } from "../wasm/node.ts"
import { specials } from "./functions.ts"
import { startLibrary, type Gpu, type GpuKernel, type GpujsMode, type Handle } from "./library.ts"
import { Memories, newMemory, placesOf, type Memory } from "./memory.ts"
import { isResident, Residents, residentType } from "./resident.ts"

/** Every kernel of gpu.js has memory of its own for its arguments, so only the latest are kept; a page has room for some 100 memories of WebAssembly. */
const keptKernels = (mode: GpujsMode): number => (mode === "webasm" && !inNode ? 48 : 256)

/** Tensors that a kernel of a GPU may read: WebGPU promises 8 buffers, of which the result and the special numbers are two. */
const mostArrays = 6

interface Ready extends Executable {
  readonly key: string
  readonly source: Source
  /** Where values go that do not go in order. */
  readonly into?: Evaluate
}

export interface GpujsSetup {
  readonly mode?: GpujsMode
  /** How many kernels gpu.js holds at a time. */
  readonly kept?: number
}

/** Opens the gpu.js device: kernels are JavaScript that gpu.js translates; memory is the host's, and on a GPU what kernels read and wrote. */
export async function gpujsDevice({ mode: wanted, kept }: GpujsSetup = {}): Promise<Device> {
  const { gpu, mode } = await startLibrary(wanted)
  const sources = new Map<string, Ready>()
  const kernels = new KernelCache(gpu, mode, kept ?? keptKernels(mode))
  const residents = isResident(mode) ? new Residents(gpu, mode) : undefined, memories = new Memories(residents)
  let used = 0, closed = false
  /** Programs run one after another, each when those before it are through. */
  let tail: Promise<void> | undefined
  const later = (act: () => void | Promise<void>): void => {
    const next = (tail ?? Promise.resolve()).then(act).then(() => {
      if (tail === next) tail = undefined
    })
    tail = next
  }
  const refuseClosed = (op: string): void => {
    if (closed) fail("device", op, "the gpujs device was closed, and its tensors with it", "open it again")
  }

  const bring = (memory: Memory): Promise<void> => memories.toHost(memory).catch((e: unknown) => void (memory.fault ??= failureOf(gpu, e, "a read")))
  const runCall = async ({ executable, buffers, scalars }: Call): Promise<void> => {
    const { kernel, key, source, into } = executable as Ready
    const out = buffers[0] as Memory
    // Values put into others leave those as they are.
    const fault = buffers.slice(into ? 0 : 1).map((b) => (b as Memory).fault).find((f) => f !== undefined)
    try {
      if (fault) throw fault
      const size = sizeOf(kernel.shape)
      if (size === 0) return
      const args: (number | Float32Array | Handle)[] = []
      for (const a of source.arguments) args.push(await argumentOf(a, kernel, buffers as readonly Memory[], scalars, memories))
      // What counts places reads integers on the host.
      if (into) for (const b of buffers) await memories.toHost(b as Memory)
      const result = await kernels.get(key, source, size, into === undefined)(...args)
      await memories.take(out, kernel.dtype, size, result, into && placesOf(into, kernel, buffers as readonly Memory[], scalars))
      out.fault = undefined
    } catch (e) {
      out.fault = e instanceof ThimbleError ? e : failureOf(gpu, e, key)
    }
  }

  return {
    name: "gpujs",
    limits: { bufferBytes: 2 ** 30 },
    accepts: () => false,
    alloc(bytes): Memory {
      refuseClosed("alloc")
      used += bytes
      return newMemory(bytes)
    },
    free(buffer) {
      used -= buffer.bytes
      // What was handed over before still reads it.
      if (residents !== undefined && !closed) later(() => memories.changed(buffer as Memory))
    },
    write(buffer, data, at = 0) {
      refuseClosed("write")
      const memory = buffer as Memory
      if (tail === undefined && memory.ahead === undefined) return memories.put(memory, data, at)
      const copy = data.slice()
      later(async () => {
        if (copy.byteLength < memory.bytes) await bring(memory)
        memories.put(memory, copy, at)
      })
    },
    async read(buffer, bytes = buffer.bytes, into) {
      refuseClosed("read")
      const memory = buffer as Memory
      if (residents !== undefined) later(() => bring(memory))
      await tail
      const { data, fault } = memory
      if (fault) throw fault
      if (into === undefined) return data.slice(0, bytes)
      into.set(data.subarray(0, bytes))
      return into.subarray(0, bytes)
    },
    async prepare(all) {
      refuseClosed("prepare")
      return all.map((kernel): Ready => {
        const key = showKernel(kernel)
        let known = sources.get(key)
        if (known === undefined) sources.set(key, (known = { kernel, key, ...(kernel.kind === "map" && kernel.into && { into: evaluator(kernel.into) }), source: sourceOf(kernel, mode === "webasm" || mode === "cpu" ? { exactFunctions: true, arrays: Infinity } : { exactFunctions: false, arrays: mostArrays }) }))
        return known
      })
    },
    run(calls) {
      refuseClosed("run")
      later(async () => {
        for (const call of calls) await runCall(call)
      })
    },
    used: () => (closed ? 0 : used),
    async close() {
      if (closed) return
      closed = true
      await tail
      sources.clear()
      kernels.clear()
      residents?.clear()
      await gpu.destroy()
    },
  }
}

function sourceOf(kernel: Kernel, options: EmitOptions): Source {
  if (kernel.kind === "template") return fail("internal", kernel.name, "the gpujs device runs expansions only")
  if (isWide(kernel)) fail("dtype", "gpujs", "gpu.js computes in f32, so its device has no f64", 'cast to "f32", or use another device')
  return emitKernel(kernel, options)
}

/** The kernels that gpu.js holds, the least recently used first. */
class KernelCache {
  private readonly gpu: Gpu
  private readonly mode: GpujsMode
  private readonly most: number
  private readonly held = new Map<string, GpuKernel>()

  constructor(gpu: Gpu, mode: GpujsMode, most: number) {
    this.gpu = gpu
    this.mode = mode
    this.most = most
  }
  /** `inOrder`: results are a tensor from its beginning, and so may stay on the GPU. */
  get(key: string, { source, parameters, arguments: list, result }: Source, size: number, inOrder: boolean): GpuKernel {
    const given = { elements: isResident(this.mode) ? residentType(this.mode) : "Array", packed: "Array", specials: "Array", scalar: "Float", offset: "Float" } as const

    const kernel = this.held.get(key) ?? this.gpu.createKernel(source, {
      output: [size], dynamicArguments: true, precision: "single", tactic: "precision", fixIntegerDivisionAccuracy: false,
      argumentTypes: Object.fromEntries(parameters.map((p, i) => [p, given[list[i]!.kind]])),
      // gpu.js takes no pairs that are on a GPU.
      ...(isResident(this.mode) && inOrder && result === "number" && { pipeline: true, immutable: true }),
      // WebGL reads results without blocking then. WebAssembly would start threads for every kernel.
      asyncMode: this.mode === "webgl2" || this.mode === "webgpu",
    })
    this.held.delete(key)
    this.held.set(key, kernel)
    if (this.held.size > this.most) {
      const [oldest, dropped] = this.held.entries().next().value!
      this.held.delete(oldest)
      dropped.destroy()
    }
    return kernel
  }
  clear(): void {
    this.held.clear()
  }
}

/** A value of a kernel's parameter list, as gpu.js takes it. */
async function argumentOf(argument: Argument, kernel: Kernel, buffers: readonly Memory[], scalars: readonly number[], memories: Memories): Promise<number | Float32Array | Handle> {
  if (argument.kind === "specials") return new Float32Array(specials)
  if (argument.kind === "elements") return memories.operand(buffers[argument.parameter]!, kernel.parameters[argument.parameter]!)
  if (argument.kind === "packed" || argument.kind === "offset") {
    const parts: Float32Array[] = []
    for (const p of argument.parameters) parts.push(await memories.numbers(buffers[p]!, kernel.parameters[p]!))
    const length = parts.reduce((n, part) => n + part.length, 0)
    return argument.kind === "offset" ? length : joined(parts, length)
  }
  const value = scalars[argument.slot]!
  return argument.part === "value" ? value : argument.part === "low" ? value & 0xffff : (value >>> 16)
}

function joined(parts: readonly Float32Array[], length: number): Float32Array {
  // Positions are f32 numbers.
  if (length > exactPositions) fail("memory", "gpujs", `a kernel reads ${parts.length + mostArrays - 1} tensors, of which ${parts.length} are ${length} numbers together, more than ${exactPositions}`, "compute in smaller pieces")
  const all = new Float32Array(length)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** An error of gpu.js. It may have lost the GPU, which it calls many things: shaders of a lost context do not compile, say. */
function failureOf({ context }: Gpu, e: unknown, what: string): ThimbleError {
  const message = e instanceof Error ? e.message.split("\n")[0]! : String(e)
  return context?.isContextLost?.() === true || /device was lost/i.test(message)
    ? new ThimbleError("device", "run", `gpu.js lost its GPU (${message}) while running ${what.slice(0, 2000)}`, "open the device again; its tensors are gone")
    : new ThimbleError("internal", "run", `gpu.js failed (${message})`, what.slice(0, 2000))
}
