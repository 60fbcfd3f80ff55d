import { bf16Value, bytesOf, dtypes, encode, evaluator, f16Value, fail, showKernel, sizeOf, ThimbleError, type Buffer, type Call, type Device, type DType, type Evaluate, type Executable, type Kernel } from "@thimble/core"
import { emitKernel, isWide, type Argument, type EmitOptions, type Source } from "./emit.ts"
import { inNode } from "../wasm/node.ts"
import { specials } from "./functions.ts"
import { startLibrary, type Gpu, type GpuKernel, type GpujsMode, type Result } from "./library.ts"

/** Every kernel of gpu.js has memory of its own for its arguments, so only the latest are kept; a page has room for some 100 memories of WebAssembly. */
const keptKernels = (mode: GpujsMode): number => (mode === "webasm" && !inNode ? 48 : 256)

interface Memory extends Buffer {
  data: Uint8Array<ArrayBuffer>
  /** What gpu.js is given for `data` read as a type; until it is written. */
  readonly numbers: Map<DType, Float32Array>
  /** Why what should have been computed into it was not. */
  fault: ThimbleError | undefined
}
interface Ready extends Executable {
  readonly key: string
  readonly source: Source
  /** Where values go that do not go in order. */
  readonly into?: Evaluate
}

export interface GpujsSetup { readonly mode?: GpujsMode }

/** Opens the gpu.js device: kernels are JavaScript that gpu.js translates; memory is the host's. */
export async function gpujsDevice({ mode: wanted }: GpujsSetup = {}): Promise<Device> {
  const { gpu, mode } = await startLibrary(wanted)
  const sources = new Map<string, Ready>()
  const kernels = new KernelCache(gpu, mode)
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

  const runCall = async ({ executable, buffers, scalars }: Call): Promise<void> => {
    const { kernel, key, source, into } = executable as Ready
    const out = buffers[0] as Memory
    // Values put into others leave those as they are.
    const fault = buffers.slice(into ? 0 : 1).map((b) => (b as Memory).fault).find((f) => f !== undefined)
    try {
      if (fault) throw fault
      const size = sizeOf(kernel.shape)
      if (size === 0) return
      const args = source.arguments.map((a) => argumentOf(a, kernel, buffers as readonly Memory[], scalars))
      const result = await kernels.get(key, source, size)(...args)
      store(out, kernel.dtype, size, result, into && placesOf(into, kernel, buffers as readonly Memory[], scalars))
      out.fault = undefined
    } catch (e) {
      out.fault = e instanceof ThimbleError ? e : new ThimbleError("internal", "run", `gpu.js failed (${e instanceof Error ? e.message.split("\n")[0] : String(e)})`, key.slice(0, 2000))
    }
  }

  return {
    name: "gpujs",
    limits: { bufferBytes: 2 ** 30 },
    accepts: () => false,
    alloc(bytes): Memory {
      refuseClosed("alloc")
      used += bytes
      return { bytes, data: new Uint8Array(bytes), numbers: new Map(), fault: undefined }
    },
    free(buffer) {
      used -= buffer.bytes
    },
    write(buffer, data, at = 0) {
      refuseClosed("write")
      const memory = buffer as Memory
      const put = (bytes: Uint8Array): void => {
        memory.data.set(bytes, at)
        memory.numbers.clear()
        memory.fault = undefined
      }
      if (tail === undefined) return put(data)
      const copy = data.slice()
      later(() => put(copy))
    },
    async read(buffer, bytes = buffer.bytes, into) {
      refuseClosed("read")
      await tail
      const { data, fault } = buffer as Memory
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
        if (known === undefined) sources.set(key, (known = { kernel, key, ...(kernel.kind === "map" && kernel.into && { into: evaluator(kernel.into) }), source: sourceOf(kernel, { exactFunctions: mode === "webasm" || mode === "cpu" }) }))
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
  private readonly held = new Map<string, GpuKernel>()

  constructor(gpu: Gpu, mode: GpujsMode) {
    this.gpu = gpu
    this.mode = mode
  }
  get(key: string, { source, parameters, arguments: list }: Source, size: number): GpuKernel {
    const kernel = this.held.get(key) ?? this.gpu.createKernel(source, {
      output: [size], dynamicArguments: true, precision: "single", fixIntegerDivisionAccuracy: false,
      argumentTypes: Object.fromEntries(parameters.map((p, i) => [p, list[i]!.kind === "scalar" ? "Float" : "Array"])),
      // WebGL reads results without blocking then. WebAssembly would start threads for every kernel.
      asyncMode: this.mode === "webgl2" || this.mode === "webgpu",
    })
    this.held.delete(key)
    this.held.set(key, kernel)
    if (this.held.size > keptKernels(this.mode)) {
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
function argumentOf(argument: Argument, kernel: Kernel, buffers: readonly Memory[], scalars: readonly number[]): number | Float32Array {
  if (argument.kind === "specials") return new Float32Array(specials)
  if (argument.kind === "elements") return numbersOf(buffers[argument.parameter]!, kernel.parameters[argument.parameter]!)
  const value = scalars[argument.slot]!
  return argument.part === "value" ? value : argument.part === "low" ? value & 0xffff : (value >>> 16)
}

/** What is stored, as f32 numbers: 16-bit floats by value, 32-bit integers as two halves. */
function numbersOf(memory: Memory, dtype: DType): Float32Array {
  const known = memory.numbers.get(dtype)
  if (known) return known
  const { buffer } = memory.data
  const whole = buffer.byteLength - (buffer.byteLength % bytesOf(dtype))
  const elements = new dtypes[dtype].array(buffer, 0, whole / bytesOf(dtype))
  const made = dtype === "f32" ? (elements as Float32Array)
    : dtype === "f16" ? Float32Array.from(elements, f16Value)
    : dtype === "bf16" ? Float32Array.from(elements, bf16Value)
    : dtype === "i32" || dtype === "u32" ? Float32Array.from(new Uint16Array(buffer, 0, whole / 2))
    : Float32Array.from(elements)
  // gpu.js takes no empty arrays.
  const numbers = made.length === 0 ? new Float32Array(1) : made
  memory.numbers.set(dtype, numbers)
  return numbers
}

/** Memory is the host's, and so is the counting of places. */
function placesOf(into: Evaluate, { shape, parameters }: Kernel, buffers: readonly Memory[], scalars: readonly number[]): Int32Array {
  const elements = buffers.map(({ data: { buffer } }, i) => new dtypes[parameters[i]!].array(buffer, 0, Math.floor(buffer.byteLength / bytesOf(parameters[i]!))))
  const coords = new Int32Array(shape.length)
  return new Int32Array(sizeOf(shape)).map(() => {
    const place = into(coords, elements, scalars, 0)
    for (let a = shape.length - 1; a >= 0 && ++coords[a]! === shape[a]!; a--) coords[a] = 0
    return place
  })
}

/** Stores what a kernel of gpu.js gave: in order, or at these places. */
function store(memory: Memory, dtype: DType, size: number, result: Result, places?: Int32Array): void {
  const out = new dtypes[dtype].array(memory.data.buffer, 0, Math.floor(memory.bytes / bytesOf(dtype)))
  if (dtype === "i32" || dtype === "u32") {
    const pairs = result as readonly ArrayLike<number>[]
    for (let i = 0; i < size; i++) out[places?.[i] ?? i] = pairs[i]![1]! * 65536 + pairs[i]![0]!
  } else if (dtype === "f32" && places === undefined) out.set(result as Float32Array)
  else for (let i = 0; i < size; i++) out[places?.[i] ?? i] = encode(dtype, (result as Float32Array)[i]!)
  memory.numbers.clear()
}
