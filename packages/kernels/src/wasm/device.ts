import { dtypes, fail, showKernel, ThimbleError, type Buffer, type Call, type Device, type Executable, type Kernel } from "@thimble/core"
import { ConstantPool, poolBytes } from "../emit/constants.ts"
import { ModuleBuilder, type FunctionRef } from "../emit/assembler.ts"
import { hostFunctions, type HostFunction } from "../emit/expression.ts"
import { argumentWords, emitKernel, type Emitted } from "../emit/kernel.ts"
import type { Features } from "../template/holes.ts"
import { templates } from "../template/index.ts"
import { Allocator } from "./allocator.ts"
import { control, phaseSignature, runnerModule, step } from "./runner.ts"
import { hostImports, Threads, type NewModule } from "./threads.ts"

const pageBytes = 65536
/** Kernels below this many scalar operations run on one thread: sharing them costs more. */
const shareFrom = 40_000
/** Small enough that the last portion is not waited for long, large enough that taking one costs nothing. */
const portionsPerThread = 16

interface Memory extends Buffer { readonly at: number }
interface Ready extends Executable {
  /** Position of the first phase in the function table. */
  readonly table: number
  readonly emitted: Emitted
  /** Units of each phase, and how many of them a thread takes at a time: all, where sharing does not pay. */
  readonly phases: readonly { readonly units: number; readonly portion: number }[]
}

export interface WasmSetup { readonly threads: number; readonly features: Features; readonly maximumPages: number }

/** Opens the CPU device: kernels become WebAssembly when first needed and run on `threads` threads over one memory. */
export async function wasmDevice({ threads: threadCount, features, maximumPages }: WasmSetup): Promise<Device> {
  // One thread keeps its memory to itself, with or without SharedArrayBuffer.
  const shared = threadCount > 1
  const memory = new WebAssembly.Memory({ initial: 16, maximum: maximumPages, shared })
  const table = new WebAssembly.Table({ element: "anyfunc", initial: 64 })
  const runner = new WebAssembly.Module(runnerModule(shared, maximumPages))
  const run = new WebAssembly.Instance(runner, { env: { memory, table } }).exports.run as (list: number, count: number, mayWait: number, stride: number) => void
  const workers = threadCount > 1 ? await Threads.start(threadCount - 1, memory, runner) : undefined
  const mayWait = workers?.mayWait ? 1 : 0
  let bytes: Uint8Array, words: Int32Array, floats: Float32Array
  // Memory that is not shared leaves its old views empty when it grows.
  const view = (): void => {
    bytes = new Uint8Array(memory.buffer)
    words = new Int32Array(memory.buffer)
    floats = new Float32Array(memory.buffer)
  }
  view()
  const grow = (bytes: number): boolean => {
    const missing = bytes - memory.buffer.byteLength
    if (missing <= 0) return true
    const pages = memory.buffer.byteLength / pageBytes
    // A quarter more than needed, so that growing is rare.
    const wanted = Math.min(Math.ceil(Math.max(missing, memory.buffer.byteLength / 4) / pageBytes), maximumPages - pages)
    for (const extra of [wanted, Math.ceil(missing / pageBytes)]) {
      if (extra * pageBytes < missing) continue
      try {
        memory.grow(extra)
        view()
        return true
      } catch { /* try the smaller step */ }
    }
    return false
  }
  const allocator = new Allocator(control.bytes + poolBytes, grow)
  const constants = new ConstantPool(control.bytes, (at, word) => {
    words[at / 4] = word
  })
  const cache = new Map<string, Promise<Ready>>()
  let nextFunction = 0
  const list: Area = { at: 0, size: 0 }, scratch: Area = { at: 0, size: 0 }, threadScratch: Area = { at: 0, size: 0 }
  let closed = false

  const refuseClosed = (op: string): void => {
    if (closed) fail("device", op, "the wasm device was closed, and its tensors with it", "open it again")
  }
  const reserve = (area: Area, size: number): void => {
    if (size <= area.size) return
    if (area.size > 0) allocator.release(area.at)
    area.size = 0
    const rounded = Math.ceil(size * 1.25 / 4096) * 4096
    area.at = allocator.alloc(rounded)
    area.size = rounded
  }

  const compile = async (kernels: readonly Kernel[]): Promise<Ready[]> => {
    const m = new ModuleBuilder()
    const host = {} as Record<HostFunction, FunctionRef>
    for (const name of hostFunctions)
      host[name] = m.importFunction("host", name, { params: name === "pow" || name === "rem" ? ["f64", "f64"] : ["f64"], results: ["f64"] })
    m.importMemory("env", "memory", { initial: 1, maximum: maximumPages, shared })
    let count = 0
    const base = nextFunction
    const ready = kernels.map((kernel): Ready => {
      const emitted = emitKernel(kernel, { host, constants, features })
      const first = base + count
      for (const phase of emitted.phases)
        m.function(phaseSignature.params, [], (f, _args, begin, end) => phase.emit(f, begin!, end!), `p${count++}`)
      const phases = emitted.phases.map(({ units, work = emitted.work }) => ({ units, portion: work < shareFrom || threadCount === 1 ? units : Math.ceil(units / (threadCount * portionsPerThread)) }))
      return { kernel, emitted, table: first, phases }
    })
    nextFunction += count
    const module = new WebAssembly.Module(m.finish())
    if (table.length < base + count) table.grow(Math.max(base + count - table.length, table.length))
    const { exports } = new WebAssembly.Instance(module, { env: { memory }, host: hostImports })
    for (let i = 0; i < count; i++) table.set(base + i, exports[`p${i}`] as () => void)
    const added: NewModule = { module, at: base, count }
    await workers?.install([added])
    return ready
  }

  return {
    name: "wasm",
    threads: threadCount,
    limits: { bufferBytes: maximumPages * pageBytes - control.bytes - poolBytes },
    accepts: (name, dims, dtype) => name in templates && dtypes[dtype].scalar === "f32" && (templates[name]!.accepts?.(dims) ?? true),
    alloc(size): Memory {
      refuseClosed("alloc")
      return { bytes: size, at: allocator.alloc(size) }
    },
    free: (buffer) => allocator.release((buffer as Memory).at),
    write(buffer, data, at = 0) {
      refuseClosed("write")
      bytes.set(data, (buffer as Memory).at + at)
    },
    async read(buffer, size = buffer.bytes, into) {
      refuseClosed("read")
      const { at } = buffer as Memory
      const copy = into?.subarray(0, size) ?? new Uint8Array(size)
      copy.set(bytes.subarray(at, at + size))
      return copy
    },
    async prepare(kernels) {
      refuseClosed("prepare")
      const keys = kernels.map(showKernel)
      const fresh = new Map<string, Kernel>()
      keys.forEach((key, i) => {
        if (!cache.has(key)) fresh.set(key, kernels[i]!)
      })
      if (fresh.size > 0) {
        const compiled = compile([...fresh.values()])
        ;[...fresh.keys()].forEach((key, i) => {
          const one = compiled.then((all) => all[i]!)
          one.catch(() => cache.delete(key))
          cache.set(key, one)
        })
      }
      return Promise.all(keys.map((key) => cache.get(key)!))
    },
    run(calls: readonly Call[]) {
      if (calls.length === 0) return
      refuseClosed("run")
      if (workers?.failed) throw workers.failed
      let steps = 0, argumentBytes = 0, shared = 0, own = 0
      for (let n = 0; n < calls.length; n++) {
        const { emitted, kernel } = calls[n]!.executable as Ready
        steps += emitted.phases.length
        argumentBytes += 4 * argumentWords(kernel)
        if (emitted.scratchBytes > shared) shared = emitted.scratchBytes
        if (emitted.threadScratchBytes > own) own = emitted.threadScratchBytes
      }
      const stride = Math.ceil(own / 64) * 64
      reserve(list, steps * step.bytes + argumentBytes)
      reserve(scratch, shared)
      reserve(threadScratch, stride * threadCount)
      let at = list.at / 4, args = (list.at + steps * step.bytes) / 4
      for (let n = 0; n < calls.length; n++) {
        const { executable, buffers, scalars } = calls[n]!, { kernel, table: first, phases } = executable as Ready
        const block = args * 4
        for (let i = 0; i < buffers.length; i++) words[args++] = (buffers[i] as Memory).at
        for (let i = 0; i < scalars.length; i++) {
          if (kernel.scalars[i] === "f32") floats[args++] = scalars[i]!
          else words[args++] = scalars[i]!
        }
        words[args++] = scratch.at
        for (let i = 0; i < phases.length; i++) {
          const { units, portion } = phases[i]!
          words[at] = first + i
          words[at + 1] = block
          words[at + 2] = units
          words[at + 3] = portion
          words[at + 4] = threadScratch.at
          at += step.bytes / 4
        }
      }
      try {
        run(list.at, steps, mayWait, stride)
      } catch (e) {
        const trap = new ThimbleError("internal", "run", `a kernel trapped (${String(e)})`, calls.map((c) => showKernel(c.executable.kernel)).join("\n").slice(0, 2000))
        workers?.abandon(trap)
        throw trap
      }
    },
    used: () => (closed ? 0 : allocator.used),
    async close() {
      closed = true
      cache.clear()
      await workers?.stop()
    },
  }
}

interface Area { at: number; size: number }
