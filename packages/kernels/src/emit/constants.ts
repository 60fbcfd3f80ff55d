import { f32Bits, fail } from "@thimble/core"
import type { FunctionBuilder, Local } from "./assembler.ts"

/** Bytes set aside right after the control block: for constants, then for tables. */
const wordBytes = 16384, tableBytes = 16384
export const poolBytes = wordBytes + tableBytes

/**
 * Vector constants in memory. V8 rebuilds a constant from three instructions wherever it is used; one that was loaded
 * before the loop stays in a register, or is one load away.
 */
export class ConstantPool {
  private readonly places = new Map<number, number>()
  private readonly tables = new Map<Uint8Array, number>()
  private tablesEnd = wordBytes
  private readonly locals = new WeakMap<FunctionBuilder, Map<number, Local>>()
  private readonly start: number
  private readonly write: (at: number, word: number) => void

  constructor(start: number, write: (at: number, word: number) => void) {
    this.start = start
    this.write = write
  }

  /** A local that holds `word` (32 bits) four times, loaded at the start of the function. */
  load(f: FunctionBuilder, word: number): Local {
    let known = this.locals.get(f)
    if (known === undefined) this.locals.set(f, (known = new Map()))
    const key = word | 0
    let local = known.get(key)
    if (local === undefined) known.set(key, (local = this.loadNew(f, key)))
    return local
  }

  private loadNew(f: FunctionBuilder, key: number): Local {
    const local = f.local("v128")
    let at = this.places.get(key)
    if (at === undefined && this.places.size * 4 < wordBytes) {
      at = this.start + 4 * this.places.size
      this.places.set(key, at)
      this.write(at, key)
    }
    f.atStart(() => {
      if (at === undefined) f.i32x4(key)
      else {
        f.i32(at)
        f.load("v128.load32_splat")
      }
      f.set(local)
    })
    return local
  }
  /** Address of a table, which is written the first time it is asked for; a multiple of 16. */
  table(bytes: Uint8Array): number {
    let at = this.tables.get(bytes)
    if (at === undefined) {
      at = Math.ceil((this.start + this.tablesEnd) / 16) * 16
      this.tablesEnd = at + bytes.length - this.start
      if (this.tablesEnd > poolBytes) fail("internal", "table", `no room for ${bytes.length} more bytes of tables`)
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
      for (let i = 0; i < bytes.length; i += 4) this.write(at + i, view.getInt32(i, true))
      this.tables.set(bytes, at)
    }
    return at
  }
  float(f: FunctionBuilder, value: number): Local {
    return this.load(f, f32Bits(value))
  }
  /** Sixteen times the same byte. */
  bytes(f: FunctionBuilder, byte: number): Local {
    return this.load(f, (byte & 255) * 0x01010101)
  }
}
