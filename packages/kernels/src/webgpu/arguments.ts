// Run-time scalars of a program's calls: rows of words in one uniform buffer, equal ones at one offset.
import type { Scalar } from "@thimble/core"
import { scalarAt } from "../wgsl/module.ts"
import type { Memory, Pool } from "./pool.ts"

/** What one binding spans; offsets are multiples of 256 everywhere. */
const spanBytes = 1024
const alignment = 256
export const mostArguments = spanBytes / 4 - scalarAt

/** A call's run-time scalars, and the words at which its packed parameters begin. */
export interface Arguments { readonly types: readonly Scalar[]; readonly values: readonly number[]; readonly places: readonly number[] }
const noRows: readonly number[] = [0]

export class ArgumentRows {
  private words = new Uint32Array(1024)
  private floats = new Float32Array(this.words.buffer)
  private used = 0
  /** What is in the buffer already. */
  private uploaded = 0
  private memory: Memory | undefined
  /** Offsets of the rows that were put down, by what is in them. */
  private readonly placed = new Map<string, number>()

  /**
   * Puts down the arguments of calls that run as one, those of each from its row on (of those without a row, none), and returns the offset in
   * bytes. Where there are none, it is the row of zeros at 0.
   */
  add(parts: readonly Arguments[], rows: readonly (number | undefined)[] = noRows): number {
    // Layers are mostly called with the same arguments, and then share rows; so do calls whose arguments begin as others do.
    let key = "", count = 0, last = 0
    const beginnings: string[] = []
    for (let p = 0; p < parts.length; p++) {
      const row = rows[p]
      if (row === undefined) continue
      const { types, values, places } = parts[p]!
      key += `${row} ${types.join()} ${places.join()}`
      for (const v of values) key += Object.is(v, -0) ? " -0" : ` ${v}`
      beginnings.push((key += ";"))
      count += values.length + places.length
      last = row
    }
    // As many zeros as the first row has serve all who ask for nothing else.
    if (count === 0 && last + 1 < alignment / 16) return 0
    const known = this.placed.get(key)
    if (known !== undefined) return known
    const begin = Math.max(alignment / 4, Math.ceil((this.used * 4) / alignment) * (alignment / 4))
    for (const b of beginnings) if (!this.placed.has(b)) this.placed.set(b, begin * 4)
    for (let p = 0; p < parts.length; p++) {
      const row = rows[p]
      if (row === undefined) continue
      const { types, values, places } = parts[p]!, first = begin + 4 * row, end = first + scalarAt + values.length + places.length
      this.reserve(end)
      this.words.fill(0, Math.max(this.used, begin), end)
      this.used = end
      for (let i = 0; i < values.length; i++) {
        if (types[i] === "f32") this.floats[first + scalarAt + i] = values[i]!
        else this.words[first + scalarAt + i] = values[i]!
      }
      for (let i = 0; i < places.length; i++) this.words[first + scalarAt + values.length + i] = places[i]!
    }
    return begin * 4
  }
  /** A buffer with all rows, and room for the last one's span: the one from before, if none was added. Undefined where there are none. */
  upload(pool: Pool, queue: GPUQueue): Memory | undefined {
    if (this.uploaded === this.used) return this.memory
    if (this.memory !== undefined) pool.give(this.memory)
    this.memory = pool.take(this.used * 4 + spanBytes)
    queue.writeBuffer(this.memory.block.gpu, 0, this.words, 0, (this.uploaded = this.used))
    return this.memory
  }
  /** Forgets the rows, and gives their buffer back, once all that reads them was handed over. */
  clear(pool: Pool): void {
    if (this.memory !== undefined) pool.give(this.memory)
    this.memory = undefined
    this.used = this.uploaded = 0
    this.placed.clear()
  }
  private reserve(words: number): void {
    if (words <= this.words.length) return
    const more = new Uint32Array(2 * words)
    more.set(this.words)
    this.words = more
    this.floats = new Float32Array(more.buffer)
  }
}

export function argumentGroup(device: GPUDevice, layout: GPUBindGroupLayout, buffer: GPUBuffer): GPUBindGroup {
  return device.createBindGroup({ layout, entries: [{ binding: 0, resource: { buffer, offset: 0, size: spanBytes } }] })
}
