import { dtypes, fail, showKernel, ThimbleError, type Buffer, type Call, type Device, type Executable, type Kernel } from "@thimble/core"
import { emitKernel } from "../wgsl/kernel.ts"
import { layoutKey, layoutOf, windowWords } from "../wgsl/layout.ts"
import { templateFor } from "../wgsl/template/index.ts"
import type { Features } from "../wgsl/template/holes.ts"
import { mostArguments, type Arguments } from "./arguments.ts"
import { mapForReading, usage } from "./constants.ts"
import { Dispatches, nameOf, namesOf, passName, type Ready } from "./dispatches.ts"
import { BindGroups } from "./groups.ts"
import { withMatricesThatWork } from "./matrices.ts"
import { deviceDescriptor, featuresOf } from "./features.ts"
import { adapterName, findAdapter, firstLine, type AdapterOptions } from "./instance.ts"
import { Pipelines } from "./pipelines.ts"
import { failureOf, Pool, type Block, type Memory } from "./pool.ts"
import { probeNumbers } from "./probe.ts"
import { Submissions, type Copy, type Step } from "./submissions.ts"

const pieceBytes = 2 ** 20
/** Results come back in pieces, so that a large one does not need its size once more. */
const readBytes = 2 ** 27

/** A device on a GPU, or on a driver that stands for one. */
export interface GpuDevice extends Device {
  /** The adapter's name. */
  readonly adapter: string
  /** What kernels are chosen by. */
  readonly features: Features
}
/** What tests and benchmarks look at besides. */
export interface WebgpuDevice extends GpuDevice {
  /** The device below, for what Thimble does not do. */
  readonly gpu: GPUDevice
  /** When kernels that are being compiled for programs that run on are ready. */
  settled(): Promise<void>
  /** Counts of what was made, not of what was used again. */
  counts(): { readonly pipelines: number; readonly bindGroups: number; readonly buffers: number; /** Dispatches of several kernels that do not depend on each other. */ readonly merged: number }
}

/** Opens a WebGPU device: kernels become WGSL when first needed, programs are handed over in few submissions. */
export async function webgpuDevice(options: AdapterOptions = {}): Promise<WebgpuDevice> {
  const { adapter, instance } = await findAdapter(options)
  let gpu: GPUDevice
  try {
    gpu = await adapter.requestDevice(deviceDescriptor(adapter))
  } catch (e) {
    return fail("device", "open", `the adapter ${adapterName(adapter)} gives no device (${firstLine(e)})`)
  }
  let features: Features
  try {
    const numbers = options.features?.numbers ?? (await probeNumbers(gpu))
    const told = { ...featuresOf(gpu, adapter, instance.wgslLanguageFeatures ?? [], numbers), ...options.features }
    features = options.features?.matrices === undefined ? await withMatricesThatWork(gpu, told) : told
  } catch (e) {
    gpu.destroy()
    return fail("device", "open", `the adapter ${adapterName(adapter)} does not compute (${firstLine(e)})`)
  }
  const own = new Opened(gpu, adapterName(adapter), features, options.merges ?? !features.software)
  return {
    name: "webgpu", adapter: own.adapter, features, gpu, limits: own.limits, queued: true,
    accepts: (name, dims, dtype) => own.accepts(name, dims, dtype),
    pairs: (name, dims, dtype) => own.pairs(name, dims, dtype),
    alloc: (bytes) => own.alloc(bytes),
    free: (buffer) => own.free(buffer),
    write: (buffer, data, at) => own.write(buffer, data, at),
    read: (buffer, bytes, into) => own.read(buffer, bytes, into),
    prepare: (kernels) => own.prepare(kernels),
    run: (calls, program) => own.run(calls, program),
    used: () => own.used(),
    counts: () => own.counts(),
    settled: () => own.settled(),
    close: () => own.close(),
  }
}

class Opened {
  readonly adapter: string
  readonly features: Features
  readonly gpu: GPUDevice
  readonly limits: { readonly bufferBytes: number }
  /** Bytes of a buffer that can be bound at once. */
  private readonly boundBytes: number
  private readonly pipelines: Pipelines
  private readonly dispatches: Dispatches
  private readonly pool: Pool
  private readonly staging: Pool
  private readonly submissions: Submissions
  private readonly cache = new Map<string, Promise<Ready>>()
  private readonly groups: BindGroups
  private readonly scopes = new Set<Promise<void>>()
  private buffers = 0
  private closed = false
  private lost: ThimbleError | undefined
  /** What went wrong outside of any scope. */
  private fault: ThimbleError | undefined
  /** What is under way, for those who ask when something goes wrong. */
  private running: readonly Call[] = []

  constructor(gpu: GPUDevice, adapter: string, features: Features, merges: boolean) {
    this.gpu = gpu
    this.adapter = adapter
    this.features = features
    const { maxBufferSize, maxStorageBufferBindingSize } = gpu.limits
    this.limits = { bufferBytes: Math.floor(maxBufferSize / 16) * 16 }
    this.boundBytes = Math.floor(maxStorageBufferBindingSize / 16) * 16
    this.groups = new BindGroups(gpu, { boundBytes: this.boundBytes, windowBytes: 4 * windowWords(features) })
    const events = { onAllocated: (b: Block) => this.watchAllocation(b), onDestroyed: (b: Block) => this.groups.forget(b) }
    this.pool = new Pool(gpu, usage.storage | usage.copySource | usage.copyTarget, this.limits.bufferBytes, events)
    this.staging = new Pool(gpu, usage.mapRead | usage.copyTarget, maxBufferSize, events)
    this.pipelines = new Pipelines(gpu)
    this.dispatches = new Dispatches(this.pipelines, features, merges)
    this.submissions = new Submissions(gpu, { groups: this.groups, pipelines: this.pipelines, uniforms: new Pool(gpu, usage.uniform | usage.copyTarget, this.limits.bufferBytes, events) })
    gpu.onuncapturederror = ({ error }) => void (this.fault ??= new ThimbleError("internal", "webgpu", `${error.message.split("\n")[0]!} while running ${namesOf(this.running)}`))
    void gpu.lost.then(({ reason, message }) => {
      if (!this.closed) this.lost = new ThimbleError("device", "webgpu", `the device was lost (${message.split("\n")[0] || reason}) while running ${namesOf(this.running)}`, "open it again; its tensors are gone")
    })
  }

  accepts(name: string, dims: Readonly<Record<string, number>>, dtype: Kernel["dtype"]): boolean {
    return dtypes[dtype].scalar === "f32" && templateFor(name, dims, this.features) !== undefined
  }
  pairs(name: string, dims: Readonly<Record<string, number>>, dtype: Kernel["dtype"]): boolean {
    return dtypes[dtype].scalar === "f32" && templateFor(name, dims, this.features)?.pairs === true
  }
  alloc(bytes: number): Buffer {
    this.refuse("alloc")
    return this.pool.take(bytes)
  }
  free(buffer: Buffer): void {
    if (!this.closed && this.lost === undefined) this.pool.give(buffer as Memory)
  }
  write(buffer: Buffer, data: Uint8Array, at = 0): void {
    this.refuse("write")
    const { block: { gpu, size }, bytes } = buffer as Memory
    if (at % 4 !== 0) fail("value", "write", `the webgpu device writes at multiples of 4 bytes, got ${at}`)
    const whole = data.byteLength & ~3, rest = data.byteLength - whole
    if (rest > 0 && at + data.byteLength < bytes) fail("value", "write", `the webgpu device writes multiples of 4 bytes before the end, got ${data.byteLength}`)
    // In pieces that find room in the ring that an implementation keeps for them.
    for (let from = 0; from < whole; from += pieceBytes) this.gpu.queue.writeBuffer(gpu, at + from, data.buffer as ArrayBuffer, data.byteOffset + from, Math.min(pieceBytes, whole - from))
    if (rest === 0 || at + whole + 4 > size) return
    const last = new Uint8Array(4)
    last.set(data.subarray(whole))
    this.gpu.queue.writeBuffer(gpu, at + whole, last)
  }
  async read(buffer: Buffer, bytes = buffer.bytes, into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    this.refuse("read")
    const result = into?.subarray(0, bytes) ?? new Uint8Array(bytes)
    for (let at = 0; at < bytes; at += readBytes) await this.readPiece(buffer as Memory, at, result.subarray(at, Math.min(at + readBytes, bytes)))
    return result
  }
  private async readPiece(memory: Memory, at: number, into: Uint8Array<ArrayBuffer>): Promise<void> {
    const size = Math.ceil(into.byteLength / 4) * 4
    const staging = this.staging.take(size)
    try {
      this.guarded([staging], () => [memory], () => "a read", () => {
        const encoder = this.gpu.createCommandEncoder()
        encoder.copyBufferToBuffer(memory.block.gpu, at, staging.block.gpu, 0, size)
        this.gpu.queue.submit([encoder.finish()])
      })
      const mapped = staging.block.gpu.mapAsync(mapForReading, 0, size).then(() => undefined, (e: unknown) => e)
      await Promise.all(this.scopes)
      this.throwFailure(memory)
      const problem = await mapped
      if (problem !== undefined) await this.hearing()
      this.refuse("read")
      this.throwFailure(staging)
      if (problem !== undefined) throw new ThimbleError("internal", "read", firstLine(problem))
      into.set(new Uint8Array(staging.block.gpu.getMappedRange(0, size), 0, into.byteLength))
    } finally {
      // Also gives up a mapping that is under way.
      staging.block.gpu.unmap()
      if (!this.closed) this.staging.give(staging)
    }
  }
  async prepare(kernels: readonly Kernel[]): Promise<Executable[]> {
    this.refuse("prepare")
    return Promise.all(kernels.map((kernel) => {
      const key = showKernel(kernel) + layoutKey(layoutOf(kernel, this.features))
      let ready = this.cache.get(key)
      if (ready === undefined) {
        this.cache.set(key, (ready = this.compile(kernel)))
        ready.catch(() => this.cache.delete(key))
      }
      return ready
    })).catch(async (e: unknown) => {
      // A device that is gone compiles nothing.
      await this.hearing()
      this.refuse("prepare")
      throw e
    })
  }
  run(calls: readonly Call[], program?: object): void {
    if (calls.length === 0) return
    this.refuse("run")
    this.running = calls
    const written: Memory[] = [], temporary: Memory[] = [], steps: (Step | undefined)[] = [], buffers = (): Memory[] => calls.flatMap((c) => c.buffers as readonly Memory[])
    const release = (): void => { for (const m of temporary.splice(0)) this.pool.give(m) }
    try {
      this.guarded(written, buffers, () => namesOf(calls), () => {
        // What is handed over already runs while the rest is planned.
        let at = 0
        for (const { calls: end, dispatches } of this.dispatches.of(calls, program)) {
          for (; at < end; at++) {
            this.plan(calls[at]!, { written, temporary, steps })
            // What a wave needs besides its results the next one may have: they take place one after the other.
            if (calls[at]!.wave === undefined || calls[at]!.wave !== calls[at + 1]?.wave) release()
          }
          this.submissions.submit(steps, dispatches)
        }
        this.submissions.end()
      })
    } finally {
      release()
    }
  }
  used(): number {
    return this.closed || this.lost !== undefined ? 0 : this.pool.used
  }
  counts(): ReturnType<WebgpuDevice["counts"]> {
    return { pipelines: this.pipelines.count, merged: this.dispatches.merged, bindGroups: this.groups.made, buffers: this.buffers }
  }
  settled(): Promise<void> {
    return this.dispatches.settled()
  }
  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    this.cache.clear()
    this.groups.clear()
    this.pipelines.clear()
    this.gpu.destroy()
    await this.gpu.lost
  }

  private refuse(op: string): void {
    if (this.closed) fail("device", op, "the webgpu device was closed, and its tensors with it", "open it again")
    if (this.lost !== undefined) throw this.lost
    if (this.fault !== undefined) {
      const { fault } = this
      this.fault = undefined
      throw fault
    }
  }
  /** What fails because the device is lost may be told before the loss is. */
  private async hearing(): Promise<void> {
    await Promise.race([this.gpu.lost, new Promise((done) => setTimeout(done, 50))])
  }
  private throwFailure(memory: Memory): void {
    const failure = failureOf(memory)
    if (failure !== undefined) throw failure
  }

  private async compile(kernel: Kernel): Promise<Ready> {
    const emitted = emitKernel(kernel, this.features)
    const words = kernel.scalars.length + emitted.packed.length, what = nameOf(kernel)
    if (words > mostArguments) fail("internal", "webgpu", `${what} has ${words} arguments, more than ${mostArguments}`)
    for (const bytes of Object.values(emitted.scratch)) this.checkBound(bytes, what)
    return { kernel, emitted, pipelines: await Promise.all(emitted.passes.map((p, i) => this.pipelines.get(p, passName(kernel, i)))) }
  }

  /** Memory between passes, and that of packed parameters, is bound in one piece. */
  private checkBound(bytes: number, what: string): void {
    if (bytes > this.boundBytes) fail("memory", "webgpu", `${what} needs ${bytes} bytes of memory of its own in one binding, and the adapter binds ${this.boundBytes}`, "compute in smaller pieces, or on the wasm device")
  }

  /** Errors of an allocation are told later; whoever reads the buffer is told then. */
  private watchAllocation(block: Block): void {
    this.buffers++
    this.follow(this.gpu.popErrorScope(), () => {
      block.failure = new ThimbleError("memory", "alloc", `the adapter has no ${block.size} bytes left (${this.pool.used} are in use)`, "free tensors, or compute in smaller pieces")
      for (const pool of [this.pool, this.staging]) pool.trim(0) // what was freed and kept may be what is missing
    })
  }
  private follow(scope: Promise<GPUError | null>, failed: (e: GPUError) => void): void {
    const done: Promise<void> = scope.then((e) => e !== null && failed(e), () => {}).then(() => void this.scopes.delete(done))
    this.scopes.add(done)
  }
  /** Does work whose errors spoil what it writes, and nothing else. What is the matter with what it reads is the reason, if there is any. */
  private guarded(written: readonly Memory[], read: () => readonly Memory[], what: () => string, work: () => void): void {
    const spoil = (failure: () => ThimbleError): void => {
      const cause = [...written, ...read()].map(failureOf).find((f) => f !== undefined) ?? failure()
      for (const m of written) m.failure ??= cause
    }
    for (const filter of ["validation", "out-of-memory", "internal"] as const) this.gpu.pushErrorScope(filter)
    try {
      work()
    } finally {
      const failed = (e: GPUError): void => spoil(() => new ThimbleError("internal", "webgpu", `${what()} failed (${firstLine(e)})`))
      this.follow(this.gpu.popErrorScope(), failed)
      this.follow(this.gpu.popErrorScope(), () => spoil(() => new ThimbleError("memory", "webgpu", `the adapter ran out of memory while running ${what()}`, "free tensors, or compute in smaller pieces")))
      this.follow(this.gpu.popErrorScope(), failed)
    }
  }

  private plan({ executable, buffers, scalars }: Call, { written, temporary, steps }: Plan): void {
    const { kernel, emitted, pipelines } = executable as Ready
    if (emitted.passes.length === 0) return
    const { length } = steps
    // Passes are found by their numbers, also those that do not take place.
    for (const _ of emitted.passes) steps.push(undefined)
    const memories = buffers as readonly Memory[]
    const out = memories[0]!
    // What is made of something spoiled is spoiled; what is made anew is not.
    let failure: ThimbleError | undefined
    for (let i = 1; i < memories.length; i++) failure ??= failureOf(memories[i]!)
    out.failure = failure ?? (kernel.kind === "map" && kernel.into !== undefined ? out.failure : undefined)
    if (failureOf(out) !== undefined) return
    written.push(out)
    const copies: Copy[] = []
    const take = (bytes: number): Memory => {
      const memory = this.pool.take(bytes)
      temporary.push(memory)
      written.push(memory)
      return memory
    }
    let packed: Memory | undefined
    const places: number[] = []
    if (emitted.packed.length > 0) {
      let at = 0
      const parts = emitted.packed.map((parameter) => {
        const from = memories[parameter]!, part = { from, at, bytes: Math.ceil(from.bytes / 4) * 4 }
        places.push(at / 4)
        at += Math.ceil(from.bytes / 16) * 16
        return part
      })
      this.checkBound(at, nameOf(kernel))
      packed = take(at)
      for (const { from, at: to, bytes } of parts) copies.push({ from, to: packed, at: to, bytes })
    }
    // A kernel cannot read what it writes: where it should, it reads a copy.
    const inputs = !memories.includes(out, 1) ? memories : memories.map((m, i) => {
      if (i === 0 || m !== out || emitted.packed.includes(i)) return m
      const copy = take(m.bytes)
      copies.push({ from: m, to: copy, at: 0, bytes: Math.ceil(m.bytes / 4) * 4 })
      return copy
    })
    const scratch: Record<string, Memory> = {}
    for (const name in emitted.scratch) scratch[name] = take(emitted.scratch[name]!)
    const args: Arguments = { types: kernel.scalars, values: scalars, places }
    for (let i = 0; i < emitted.passes.length; i++) {
      const pass = emitted.passes[i]!
      const bound = pass.bindings.map((b) => (b.kind === "parameter" ? inputs[b.parameter]! : b.kind === "packed" ? packed! : scratch[b.name]!))
      steps[length + i] = { pass, pipeline: pipelines[i]!, bound, args, copies: i === 0 ? copies : [] }
    }
  }
}

interface Plan { readonly written: Memory[]; readonly temporary: Memory[]; readonly steps: (Step | undefined)[] }
