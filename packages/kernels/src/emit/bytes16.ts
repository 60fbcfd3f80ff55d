// Sixteen codes at a time: integer expressions of small range in byte lanes, for the integer-dot kernels.
import { expr, flatten, rewrite, type Expr } from "@thimble/core"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ExpressionStream, type Environment } from "./expression.ts"
import { bitOf, expressible, isLookUp, isRun, isShifted, laneAxis, runAxis, spreadOf, varies, type Spread } from "./lanes16.ts"

/** An integer operand, read in blocks of 32 neighbours. */
export interface ByteOperand {
  /** Bounds of its values. */
  readonly low: number
  readonly high: number
  /** It in runs of so many blocks along an axis. */
  runs(axis: number, blocks: number): ByteRuns
}

/** Vectors of sixteen codes (i8x16) in locals: the halves of a block. */
export type Halves = readonly [Local, Local]
export interface ByteRuns {
  /** What lies side by side in memory, and can be one vector of 256 bits: a block's halves, or the same half of two blocks. */
  readonly pairs: "halves" | "blocks"
  /** Emits what does not depend on the run, whose number is `run`; `read` emits the rest, and gives the run's blocks. */
  along(f: FunctionBuilder, coords: readonly Local[], run: Local): { read(): Halves[] }
}

export function byteOperand(body: Expr, shape: readonly number[], env: (f: FunctionBuilder) => Environment): ByteOperand {
  return {
    low: body.low,
    high: body.high,
    runs(axis, blocks) {
      const size = 32 * blocks
      const first = expr.mul(expr.index(runAxis, Math.ceil(shape[axis]! / size)), expr.int(size))
      // Which block of the run it is is known here, and much of a format's arithmetic falls away.
      const codes = Array.from({ length: blocks }, (_, i) => [0, 16].map((half) => {
        const at = expr.add(first, expr.add(expr.index(laneAxis, 16), expr.int(32 * i + half)))
        return rewrite([body], (e) => (e.op === "index" && e.value === axis ? at : undefined))[0]!
      }) as [Expr, Expr])
      if (codes.flat().every(expressible)) return {
        pairs: codes.every(([low, high]) => isShifted(low, high, 16)) ? "halves" : "blocks",
        along: (f, coords, run) => new ByteStream(f, env(f), codes, coords, run),
      }
      // Not expressible in byte lanes: four integers at a time, narrowed.
      return {
        pairs: "blocks",
        along(f, coords, run) {
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
            read() {
              f.get(run); f.scale(size); f.set(position)
              return Array.from({ length: blocks }, (_, i): Halves => [half(32 * i), half(32 * i + 16)])
            },
          }
        },
      }
    },
  }
}

/**
 * A few bits moved up in their byte: how far from where they were (down, if negative), and the bits where they come to lie.
 * Words are shifted; what comes from a neighbouring byte is not among the bits.
 */
interface Lifted { readonly field: Expr; readonly of: Expr; readonly by: number; readonly mask: number }
function liftedOf(e: Expr): Lifted | undefined {
  const [field, up] = e.src as [Expr, Expr]
  if (e.op !== "shl" || up.op !== "const" || field.low < 0) return undefined
  // A remainder keeps the lowest bits; without one all that there are remain.
  const from = field.op === "rem" && field.src[1]!.op === "const" ? field.src[0]! : field
  const bits = from === field ? Math.ceil(Math.log2(field.high + 1)) : Math.log2(field.src[1]!.value)
  const count = from.src[1], down = count?.op !== "const" ? 0 : from.op === "shr" ? count.value : from.op === "div" ? Math.log2(count.value) : 0
  if (from.low < 0 || bits + up.value > 8 || bits + down > 8 || (from === field && down === 0)) return undefined
  return { field, of: down > 0 ? from.src[0]! : from, by: up.value - down, mask: (2 ** bits - 1) * 2 ** up.value }
}

/** Where loads begin that differ in a constant only: at base + step · run + Σ k · term, with terms that change from run to run in their own ways. */
interface Region {
  readonly base: Local
  readonly step: number
  readonly terms: readonly (readonly [Expr, number])[]
}
interface Load {
  readonly region: Region
  readonly offset: number
  /** Which of the bytes there each lane takes, unless they are its own. */
  readonly lanes?: Local
  /** How many there are. */
  readonly width: number
}

/** What has been computed of a run. */
interface Reading { readonly addresses: ReadonlyMap<Region, Local>; readonly loaded: Map<Expr, Local> }

/** Emits expressible expressions; what does not depend on the run is computed once per stream. */
export class ByteStream {
  private readonly f: FunctionBuilder
  private readonly codes: readonly (readonly [Expr, Expr])[]
  private readonly run: Local
  private readonly masks = new Map<number, Local>()
  private readonly regions = new Map<string, Region>()
  private readonly loads = new Map<Expr, Load>()
  private readonly tables = new Map<Expr, Local>()
  /** Where each lane's bit stands. */
  private readonly bits = new Map<Expr, Local>()
  /** Scalars of the run: parts of addresses, counts of shifts. */
  private readonly scalars: ExpressionStream | undefined

  constructor(f: FunctionBuilder, env: Environment, codes: readonly (readonly [Expr, Expr])[], coords: readonly Local[], run: Local) {
    this.f = f
    this.codes = codes
    this.run = run
    const all = flatten(codes.flat())
    // Every byte constant the expressions may need, loaded before the loop.
    for (const e of all) {
      const lifted = liftedOf(e)
      if (lifted !== undefined) this.masks.set(lifted.mask, env.constants.bytes(f, lifted.mask))
      const [, b] = e.src
      const byte = e.op === "const" ? e.value & 255 : b?.op !== "const" ? -1 : e.op === "rem" ? b.value - 1 : e.op === "div" ? 255 / b.value | 0 : e.op === "shr" ? 255 >> b.value : -1
      if (byte >= 0 && e.type !== "f32" && !this.masks.has(byte)) this.masks.set(byte, env.constants.bytes(f, byte))
    }
    const perRun: Expr[] = []
    for (const e of all) {
      if (e.op === "shr" && e.src[1]!.op !== "const" && !varies(e.src[1]!)) perRun.push(e.src[1]!)
      const bits = bitOf(e)
      if (bits !== undefined) this.bits.set(e, this.constants(bits.map((n) => 1 << n)))
      if (e.op !== "load") continue
      const spread = isRun(e) ? undefined : spreadOf(e)
      if (isRun(e) || spread !== undefined && !isLookUp(e)) this.loads.set(e, this.place(e, env, coords, perRun, spread))
      else {
        const table = f.local("v128")
        f.get(env.parameters[e.value]!)
        f.load("v128.load", 0, 0)
        f.set(table)
        this.tables.set(e, table)
      }
    }
    if (perRun.length > 0) this.scalars = new ExpressionStream(f, env, runAxis, coords, run, perRun)
  }

  private constants(bytes: readonly number[]): Local {
    const local = this.f.local("v128")
    this.f.v128const(bytes)
    this.f.set(local)
    return local
  }

  private place(load: Expr, env: Environment, coords: readonly Local[], perRun: Expr[], spread: Spread | undefined): Load {
    const { f } = this
    const { terms, rest } = expr.sumOf(load.src[0]!)
    const shared = [...terms].filter(([term]) => !varies(term)), key = `${load.value} ${shared.map(([term, k]) => `${term.id}*${k}`).join(" ")}`
    let region = this.regions.get(key)
    if (region === undefined) {
      const base = f.local("i32"), none = f.local("i32")
      const ofRun = shared.filter(([term]) => varies(term, runAxis)), linear = ofRun.find(([term]) => term.op === "index")
      const others = ofRun.filter((t) => t !== linear)
      f.get(env.parameters[load.value]!)
      for (const [term, k] of shared) {
        if (varies(term, runAxis)) continue
        new ExpressionStream(f, env, -1, coords, none, [term]).value(term, 1)
        f.scale(k)
        f.op("i32.add")
      }
      f.set(base)
      perRun.push(...others.map(([term]) => term))
      this.regions.set(key, (region = { base, step: linear?.[1] ?? 0, terms: others }))
    }
    return { region, offset: rest, width: spread ? Math.max(...spread.lanes) + 1 : 16, ...(spread && { lanes: this.constants(spread.lanes) }) }
  }

  read(): Halves[] {
    const { f } = this
    // Neighbours are read from one address, which is where the revectorizer looks for pairs.
    const addresses = new Map([...this.regions.values()].map((region) => {
      const at = f.local("i32")
      f.get(region.base); f.get(this.run); f.scale(region.step); f.op("i32.add")
      for (const [term, k] of region.terms) {
        this.scalars!.value(term, 1)
        f.scale(k)
        f.op("i32.add")
      }
      f.set(at)
      return [region, at]
    }))
    const reading: Reading = { addresses, loaded: new Map() }
    return this.codes.map((halves) => halves.map((half) => {
      const codes = f.local("v128")
      this.emit(half, reading); f.set(codes)
      return codes
    }) as unknown as Halves)
  }

  private emitLoad(e: Expr, { region, offset, lanes, width }: Load, { addresses, loaded }: Reading): void {
    const { f } = this
    const known = loaded.get(e)
    if (known !== undefined) return f.get(known)
    const local = f.local("v128")
    f.get(addresses.get(region)!)
    if (offset < 0) { f.i32(offset); f.op("i32.add") }
    // No further than the bytes reach: they may be the last of the memory.
    f.load(width <= 4 ? "v128.load32_zero" : width <= 8 ? "v128.load64_zero" : "v128.load", Math.max(0, offset), 0)
    if (lanes !== undefined) { f.get(lanes); f.op("i8x16.swizzle") }
    f.tee(local)
    loaded.set(e, local)
  }

  private emit(e: Expr, reading: Reading): void {
    const { f } = this
    if (e.op === "const") return f.get(this.masks.get(e.value & 255)!)
    if (e.op === "load") {
      const load = this.loads.get(e)
      if (load !== undefined) return this.emitLoad(e, load, reading)
      f.get(this.tables.get(e)!)
      this.emit(e.src[0]!, reading)
      return f.op("i8x16.swizzle")
    }
    const lifted = liftedOf(e), bits = this.bits.get(lifted?.field ?? e)
    const [a, b] = (bits === undefined ? e : lifted?.field ?? e).src as [Expr, Expr]
    if (bits !== undefined) {
      this.emit(a.src[0]!, reading)
      f.get(bits)
      f.op("v128.and")
      f.get(bits)
      f.op("i8x16.eq")
      f.get(this.masks.get(lifted?.mask ?? 1)!)
      return f.op("v128.and")
    }
    if (lifted !== undefined) {
      this.emit(lifted.of, reading)
      if (lifted.by !== 0) {
        f.i32(Math.abs(lifted.by))
        f.op(lifted.by > 0 ? "i16x8.shl" : "i16x8.shr_u")
      }
      f.get(this.masks.get(lifted.mask)!)
      return f.op("v128.and")
    }
    // What a shift of words brings in from the neighbour, the remainder takes away: no other mask is needed.
    const bare = e.op === "rem" && (a.op === "shr" || a.op === "div") && Math.log2(b.value) + (a.op === "shr" ? a.src[1]!.high : Math.log2(a.src[1]!.value)) <= 8 && a.src[0]!.low >= 0
    if (bare) {
      this.emit(a.src[0]!, reading)
      if (a.op === "div") f.i32(Math.log2(a.src[1]!.value))
      else this.count(a.src[1]!)
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
        this.count(b)
        f.op("i16x8.shr_u")
        f.i32(255)
        this.count(b)
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
  private count(by: Expr): void {
    if (by.op === "const") this.f.i32(by.value)
    else this.scalars!.value(by, 1)
  }
}
