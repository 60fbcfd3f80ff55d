// Buffers by size class: what is freed is kept for the next that needs as much. Work is ordered by the queue, so a buffer
// can be handed out again while kernels that read its old content still run.
import { ThimbleError, type Buffer } from "@thimble/core"

export interface Memory extends Buffer {
  readonly gpu: GPUBuffer
  /** Size class, in bytes. */
  readonly size: number
  /** Tells buffers apart in keys. */
  readonly id: number
  /** Why its content is lost: it could not be allocated, or what should have written it failed. */
  failure: ThimbleError | undefined
  /** What was made for this buffer and must go with it. */
  readonly dependents: Set<string>
  freed: boolean
}

/** Smallest class; kernels read four words at once, so all are multiples of 16. */
const least = 256
/** Freed bytes that are kept at least. */
const keptBytes = 64 * 2 ** 20

/** Eight classes for each power of two: at most an eighth is wasted. */
export function sizeClass(bytes: number): number {
  if (bytes <= least) return least
  const step = Math.max(16, 2 ** (Math.floor(Math.log2(bytes - 1)) - 3))
  return Math.ceil(bytes / step) * step
}

export class Pool {
  /** Bytes handed out and not freed. */
  used = 0
  /** Bytes that are kept for later. */
  private kept = 0
  private readonly free = new Map<number, Memory[]>()
  private readonly device: GPUDevice
  private readonly usage: number
  private readonly mostBytes: number
  private readonly onAllocated: (memory: Memory) => void
  private readonly onDestroyed: (memory: Memory) => void
  private nextId = 1

  constructor(device: GPUDevice, usage: number, mostBytes: number, { onAllocated, onDestroyed }: { onAllocated(memory: Memory): void; onDestroyed(memory: Memory): void }) {
    this.device = device
    this.usage = usage
    this.mostBytes = mostBytes
    this.onAllocated = onAllocated
    this.onDestroyed = onDestroyed
  }

  take(bytes: number): Memory {
    const size = Math.max(Math.min(sizeClass(bytes), this.mostBytes), Math.ceil(bytes / 16) * 16)
    const old = this.free.get(size)?.pop()
    let memory: Memory
    if (old === undefined) {
      // What is kept may be what is missing.
      if (size > keptBytes) this.trim(0)
      this.device.pushErrorScope("out-of-memory")
      const gpu = this.device.createBuffer({ size, usage: this.usage })
      memory = { bytes, gpu, size, id: this.nextId++, failure: undefined, dependents: new Set(), freed: false }
      this.onAllocated(memory)
    } else {
      this.kept -= size
      memory = { ...old, bytes, failure: undefined, freed: false }
    }
    this.used += bytes
    return memory
  }

  give(memory: Memory): void {
    if (memory.freed) return
    memory.freed = true
    this.used -= memory.bytes
    if (memory.failure?.code === "memory") return this.destroy(memory)
    const { size } = memory
    let list = this.free.get(size)
    if (list === undefined) this.free.set(size, (list = []))
    list.push(memory)
    this.kept += size
    if (this.kept > Math.max(keptBytes, this.used)) this.trim(Math.max(keptBytes, this.used) / 2)
  }

  /** Lets go of kept buffers, the largest first, until no more than `bytes` are kept. */
  trim(bytes: number): void {
    for (const [size, list] of [...this.free].sort(([a], [b]) => b - a)) {
      while (this.kept > bytes && list.length > 0) {
        this.kept -= size
        this.destroy(list.pop()!)
      }
      if (list.length === 0) this.free.delete(size)
    }
  }
  private destroy(memory: Memory): void {
    this.onDestroyed(memory)
    memory.gpu.destroy()
  }
}
