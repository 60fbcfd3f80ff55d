// Buffers by size class: what is freed is kept for the next that needs as much. Work is ordered by the queue, so a buffer
// can be handed out again while kernels that read its old content still run.
import { ThimbleError, type Buffer } from "@thimble/core"

/** A buffer of the adapter, which one tensor after the other uses. */
export interface Block {
  readonly gpu: GPUBuffer
  /** Size class, in bytes. */
  readonly size: number
  /** Tells buffers apart in keys. */
  readonly id: number
  /** What was made for this buffer and must go with it. */
  readonly dependents: Set<string>
  /** Set if there was no memory for it. */
  failure: ThimbleError | undefined
}
export interface Memory extends Buffer {
  readonly block: Block
  /** Why the content is lost: what should have written it failed. */
  failure: ThimbleError | undefined
  freed: boolean
}
export const failureOf = (m: Memory): ThimbleError | undefined => m.failure ?? m.block.failure

/** Smallest class; kernels read four words at once, so all are multiples of 16. */
const least = 256
/** Freed bytes that are kept at least; as many as are in use may be. */
const keptBytes = 256 * 2 ** 20

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
  private readonly free = new Map<number, Block[]>()
  /** What is free, the longest first: what a program needs again and again is freed last. */
  private readonly idle = new Set<Block>()
  private readonly device: GPUDevice
  private readonly usage: number
  private readonly mostBytes: number
  private readonly onAllocated: (block: Block) => void
  private readonly onDestroyed: (block: Block) => void
  private nextId = 1

  constructor(device: GPUDevice, usage: number, mostBytes: number, { onAllocated, onDestroyed }: { onAllocated(block: Block): void; onDestroyed(block: Block): void }) {
    this.device = device
    this.usage = usage
    this.mostBytes = mostBytes
    this.onAllocated = onAllocated
    this.onDestroyed = onDestroyed
  }

  take(bytes: number): Memory {
    const size = Math.max(Math.min(sizeClass(bytes), this.mostBytes), Math.ceil(bytes / 16) * 16)
    const block = this.pop(size) ?? this.make(size)
    this.used += bytes
    return { bytes, block, failure: undefined, freed: false }
  }
  private pop(size: number): Block | undefined {
    const list = this.free.get(size)
    for (let block = list?.pop(); block !== undefined; block = list!.pop()) {
      this.kept -= size
      this.idle.delete(block)
      if (block.failure === undefined) return block
      this.destroy(block)
    }
    return undefined
  }
  private make(size: number): Block {
    // What is kept may be what is missing.
    if (size > keptBytes) this.trim(this.used)
    this.device.pushErrorScope("out-of-memory")
    const block: Block = { gpu: this.device.createBuffer({ size, usage: this.usage }), size, id: this.nextId++, dependents: new Set(), failure: undefined }
    this.onAllocated(block)
    return block
  }

  give(memory: Memory): void {
    if (memory.freed) return
    memory.freed = true
    this.used -= memory.bytes
    const { block } = memory, { size } = block
    if (block.failure !== undefined) return this.destroy(block)
    let list = this.free.get(size)
    if (list === undefined) this.free.set(size, (list = []))
    list.push(block)
    this.idle.add(block)
    this.kept += size
    if (this.kept > Math.max(keptBytes, this.used)) this.trim(Math.max(keptBytes, this.used) / 2, block)
  }

  /** Lets go of kept buffers, those that are idle longest first, until no more than `bytes` are kept; of `spared` not at all. */
  trim(bytes: number, spared?: Block): void {
    for (const block of this.idle) {
      if (this.kept <= bytes) return
      if (block === spared) continue
      const { size } = block, list = this.free.get(size)!
      list.splice(list.indexOf(block), 1)
      if (list.length === 0) this.free.delete(size)
      this.idle.delete(block)
      this.kept -= size
      this.destroy(block)
    }
  }
  private destroy(block: Block): void {
    this.onDestroyed(block)
    block.gpu.destroy()
  }
}
