// Sixteen codes at a time: integer expressions of small range in byte lanes, for the integer-dot kernels.
import { expr, flatten, rewrite, type Expr } from "@thimble/core"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ExpressionStream, type Environment } from "./expression.ts"
import { bitOf, blockAxis, expressible, isLookUp, isRun, laneAxis, spreadOf, varies, type Spread } from "./lanes16.ts"

/** An integer operand, read in blocks of 32 neighbours along one axis. */
export interface ByteOperand {
  /** Bounds of its values. */
  readonly low: number
  readonly high: number
  /** Emits what does not depend on the block, whose number is `block`. */
  along(f: FunctionBuilder, axis: number, coords: readonly Local[], block: Local): ByteBlocks
}

/** Vectors of sixteen codes (i8x16) in locals: the halves of a block. */
export type Halves = readonly [Local, Local]
export interface ByteBlocks {
  /** `count` neighbouring blocks from the running one on, read in a way that the revectorizer can join pairs of them. */
  read(count: number): Halves[]
}

export function byteOperand(body: Expr, shape: readonly number[], env: (f: FunctionBuilder) => Environment): ByteOperand {
  return {
    low: body.low,
    high: body.high,
    along(f, axis, coords, block) {
      const lane = expr.index(laneAxis, 16)
      const blocks = expr.mul(expr.index(blockAxis, Math.ceil(shape[axis]! / 32)), expr.int(32))
      const halves = [0, 16].map((h) => rewrite([body], (e) => (e.op === "index" && e.value === axis ? expr.add(blocks, expr.add(expr.int(h), lane)) : undefined))[0]!)
      if (halves.every(expressible)) return new ByteStream(f, env(f), halves, coords, block)
      // Not expressible in byte lanes: four integers at a time, narrowed.
      const position = f.local("i32")
      const stream = new ExpressionStream(f, env(f), axis, coords, position, [body])
      const half = (at: number): Local => {
        for (const pair of [0, 8]) {
          stream.value(body, 4, at + pair)
          stream.value(body, 4, at + pair + 4)
          f.op("i16x8.narrow_i32x4_s")
        }
        f.op(body.low >= 0 && body.high > 127 ? "i8x16.narrow_i16x8_u" : "i8x16.narrow_i16x8_s")
        const codes = f.local("v128")
        f.set(codes)
        return codes
      }
      return {
        read(count) {
          f.get(block); f.scale(32); f.set(position)
          return Array.from({ length: count }, (_, i): Halves => [half(32 * i), half(32 * i + 16)])
        },
      }
    },
  }
}

/** Where a run begins: at base + step · block + Σ k · term, with terms that change with the block in their own ways. */
interface Run {
  readonly base: Local
  readonly step: number
  readonly terms: readonly (readonly [Expr, number])[]
  /** Which of the bytes there each lane takes, unless they are its own. */
  readonly lanes?: Local
  /** How many there are. */
  readonly width: number
}

/** One block of those that are read together: how far behind the first it is, and what has been loaded of it. */
interface Reading { readonly ahead: number; readonly loaded: Map<Expr, Local> }

/** Emits expressible expressions; what does not depend on the block is computed once per stream. */
class ByteStream implements ByteBlocks {
  private readonly f: FunctionBuilder
  private readonly halves: readonly Expr[]
  private readonly block: Local
  private readonly masks = new Map<number, Local>()
  private readonly runs = new Map<Expr, Run>()
  private readonly tables = new Map<Expr, Local>()
  /** Where each lane's bit stands. */
  private readonly bits = new Map<Expr, Local>()
  /** Scalars of the block: parts of addresses, counts of shifts. */
  private readonly scalars: ExpressionStream | undefined

  constructor(f: FunctionBuilder, env: Environment, halves: readonly Expr[], coords: readonly Local[], block: Local) {
    this.f = f
    this.halves = halves
    this.block = block
    // Every byte constant the expressions may need, loaded before the loop.
    for (const e of flatten(halves)) {
      const [, b] = e.src
      const byte = e.op === "const" ? e.value & 255 : b?.op !== "const" ? -1 : e.op === "rem" ? b.value - 1 : e.op === "div" ? 255 / b.value | 0 : e.op === "shr" ? 255 >> b.value : -1
      if (byte >= 0 && e.type !== "f32" && !this.masks.has(byte)) this.masks.set(byte, env.constants.bytes(f, byte))
    }
    const perBlock: Expr[] = []
    for (const e of flatten(halves)) {
      if (e.op === "shr" && e.src[1]!.op !== "const" && !varies(e.src[1]!)) perBlock.push(e.src[1]!)
      const bits = bitOf(e)
      if (bits !== undefined) this.bits.set(e, this.constants(bits.map((n) => 1 << n)))
      if (e.op !== "load") continue
      const spread = spreadOf(e)
      if (isRun(e) || spread !== undefined && !isLookUp(e)) this.runs.set(e, this.findRun(e, env, coords, perBlock, isRun(e) ? undefined : spread))
      else {
        const table = f.local("v128")
        f.get(env.parameters[e.value]!)
        f.load("v128.load", 0, 0)
        f.set(table)
        this.tables.set(e, table)
      }
    }
    if (perBlock.length > 0) this.scalars = new ExpressionStream(f, env, blockAxis, coords, block, perBlock)
  }

  private constants(bytes: readonly number[]): Local {
    const local = this.f.local("v128")
    this.f.v128const(bytes)
    this.f.set(local)
    return local
  }

  private findRun(load: Expr, env: Environment, coords: readonly Local[], perBlock: Expr[], spread: Spread | undefined): Run {
    const { f } = this
    const sum = expr.sumOf(load.src[0]!)
    const base = f.local("i32"), none = f.local("i32")
    const terms: (readonly [Expr, number])[] = []
    let step = 0
    f.get(env.parameters[load.value]!)
    f.i32(sum.rest); f.op("i32.add")
    for (const [term, k] of sum.terms) {
      if (varies(term)) continue
      if (term.op === "index" && term.value === blockAxis) step = k
      else if (varies(term, blockAxis)) {
        terms.push([term, k])
        perBlock.push(term)
      } else {
        new ExpressionStream(f, env, -1, coords, none, [term]).value(term, 1)
        f.scale(k)
        f.op("i32.add")
      }
    }
    f.set(base)
    return { base, step, terms, width: spread ? Math.max(...spread.lanes) + 1 : 16, ...(spread && { lanes: this.constants(spread.lanes) }) }
  }

  read(count: number): Halves[] {
    const { f } = this
    // Neighbours are read from one address, which is where the revectorizer looks for pairs.
    const addresses = new Map([...this.runs].map(([load, { base, step }]) => {
      const at = f.local("i32")
      f.get(base); f.get(this.block); f.scale(step); f.op("i32.add"); f.set(at)
      return [load, at]
    }))
    return Array.from({ length: count }, (_, ahead) => {
      const loaded = new Map<Expr, Local>()
      for (const [load, { step, terms, lanes, width }] of this.runs) {
        const local = f.local("v128")
        f.get(addresses.get(load)!)
        for (const [term, k] of terms) {
          this.scalars!.value(term, 1, ahead)
          f.scale(k)
          f.op("i32.add")
        }
        // No further than the bytes reach: they may be the last of the memory.
        f.load(width <= 4 ? "v128.load32_zero" : width <= 8 ? "v128.load64_zero" : "v128.load", ahead * step, 0)
        if (lanes !== undefined) { f.get(lanes); f.op("i8x16.swizzle") }
        f.set(local)
        loaded.set(load, local)
      }
      return this.halves.map((half) => {
        const codes = f.local("v128")
        this.emit(half, { ahead, loaded }); f.set(codes)
        return codes
      }) as unknown as Halves
    })
  }

  private emit(e: Expr, reading: Reading): void {
    const { f } = this
    if (e.op === "const") return f.get(this.masks.get(e.value & 255)!)
    if (e.op === "load") {
      const run = reading.loaded.get(e)
      if (run !== undefined) return f.get(run)
      f.get(this.tables.get(e)!)
      this.emit(e.src[0]!, reading)
      return f.op("i8x16.swizzle")
    }
    const [a, b] = e.src as [Expr, Expr]
    const bits = this.bits.get(e)
    if (bits !== undefined) {
      this.emit(a.src[0]!, reading)
      f.get(bits)
      f.op("v128.and")
      f.get(bits)
      f.op("i8x16.eq")
      f.get(this.masks.get(1)!)
      return f.op("v128.and")
    }
    // What a shift of words brings in from the neighbour, the remainder takes away: no other mask is needed.
    const bare = e.op === "rem" && (a.op === "shr" || a.op === "div") && Math.log2(b.value) + (a.op === "shr" ? a.src[1]!.high : Math.log2(a.src[1]!.value)) <= 8 && a.src[0]!.low >= 0
    if (bare) {
      this.emit(a.src[0]!, reading)
      if (a.op === "div") f.i32(Math.log2(a.src[1]!.value))
      else this.count(a.src[1]!, reading)
      f.op("i16x8.shr_u")
    } else this.emit(a, reading)
    const shift = (op: "i8x16.shl" | "i8x16.shr_s", by: number): void => {
      f.i32(by)
      f.op(op)
    }
    // Machines shift words, not bytes: shift those and mask what came from the neighbour.
    const shiftDown = (by: number): void => {
      f.i32(by)
      f.op("i16x8.shr_u")
      f.get(this.masks.get(255 >> by)!)
      f.op("v128.and")
    }
    switch (e.op) {
      case "cast": return
      case "shl": return shift("i8x16.shl", b.value)
      case "shr":
        if (b.op === "const") return a.low < 0 ? shift("i8x16.shr_s", b.value) : shiftDown(b.value)
        this.count(b, reading)
        f.op("i16x8.shr_u")
        f.i32(255)
        this.count(b, reading)
        f.op("i32.shr_u", "i8x16.splat", "v128.and")
        return
      case "div": return b.value === 1 ? undefined : shiftDown(Math.log2(b.value))
      case "rem":
        f.get(this.masks.get(b.value - 1)!)
        return f.op("v128.and")
      default:
        this.emit(b, reading)
        f.op(({ add: "i8x16.add", sub: "i8x16.sub", and: "v128.and", or: "v128.or", xor: "v128.xor" } as const)[e.op as "add"])
    }
  }

  /** Pushes how far to shift. */
  private count(by: Expr, { ahead }: Reading): void {
    if (by.op === "const") this.f.i32(by.value)
    else this.scalars!.value(by, 1, ahead)
  }
}
