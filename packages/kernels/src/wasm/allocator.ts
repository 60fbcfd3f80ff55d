import { ThimbleError } from "@thimble/core"

/** Every block starts at a multiple of this many bytes: a cache line. */
const alignment = 64

/** Best-fit allocator of address ranges with joining of free neighbours. Addresses up to 4 GiB. */
export class Allocator {
  private readonly free: { at: number; size: number }[] = []
  private readonly sizes = new Map<number, number>()
  private end: number
  /** Bytes handed out, rounded up to whole blocks. */
  used = 0
  /** Makes the memory at least this many bytes long; false when it cannot. */
  private readonly grow: (bytes: number) => boolean

  constructor(start: number, grow: (bytes: number) => boolean) {
    this.end = Math.ceil(start / alignment) * alignment
    this.grow = grow
  }

  alloc(bytes: number): number {
    const size = Math.max(alignment, Math.ceil(bytes / alignment) * alignment)
    let best = -1
    for (let i = 0; i < this.free.length; i++) {
      const s = this.free[i]!.size
      if (s >= size && (best < 0 || s < this.free[best]!.size)) {
        best = i
        if (s === size) break
      }
    }
    let at: number
    if (best >= 0) {
      const block = this.free[best]!
      at = block.at
      if (block.size === size) this.free.splice(best, 1)
      else {
        block.at += size
        block.size -= size
      }
    } else {
      at = this.end
      if (!this.grow(at + size))
        throw new ThimbleError("memory", "alloc", `no room for ${bytes} bytes: ${at} of at most 4 GiB are in use`, "dispose tensors, use a scope, or compute in smaller pieces")
      this.end += size
    }
    this.sizes.set(at, size)
    this.used += size
    return at
  }

  release(at: number): void {
    const size = this.sizes.get(at)
    if (size === undefined) return
    this.sizes.delete(at)
    this.used -= size
    let low = 0, high = this.free.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.free[middle]!.at < at) low = middle + 1
      else high = middle
    }
    const before = this.free[low - 1], after = this.free[low]
    const joinsBefore = before !== undefined && before.at + before.size === at
    const joinsAfter = after !== undefined && at + size === after.at
    if (joinsBefore) {
      before.size += size
      if (joinsAfter) {
        before.size += after.size
        this.free.splice(low, 1)
      }
    } else if (joinsAfter) {
      after.at = at
      after.size += size
    } else this.free.splice(low, 0, { at, size })
    const last = this.free.at(-1)
    if (last !== undefined && last.at + last.size === this.end) {
      this.end = last.at
      this.free.pop()
    }
  }
}
