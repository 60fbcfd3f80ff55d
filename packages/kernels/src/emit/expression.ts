// Turns expressions of the scalar alphabet into WebAssembly, one element or four at a time. Four lanes run along one
// axis; whatever does not change along it is computed once, outside the loop.
import { bytesOf, expr, f32Bits, flatten, type DType, type Expr, type Scalar } from "@thimble/core"
import type { ConstantPool } from "./constants.ts"
import type { FunctionBuilder, FunctionRef, Local, ValueType } from "./assembler.ts"
import { scalarSpelling, shiftVector, vectorSpelling } from "./spelling.ts"

export type Lanes = 1 | 4

/** What a kernel's expressions refer to, as locals and functions of the module. */
export interface Environment {
  /** Base addresses of the parameters. */
  readonly parameters: readonly Local[]
  readonly scalars: readonly Local[]
  /** Host functions for what WebAssembly lacks: sin, cos, … on f64. */
  readonly host: Readonly<Record<HostFunction, FunctionRef>>
  readonly constants: ConstantPool
  /** Whether the engine has relaxed SIMD. */
  readonly relaxed: boolean
}
export const hostFunctions = ["exp", "log", "sin", "cos", "atan", "tanh", "erf", "pow", "rem"] as const
export type HostFunction = (typeof hostFunctions)[number]

/** Scalars but floats are kept in i32. */
export const valueType = (t: Scalar): ValueType => (t === "f32" || t === "f64" ? t : "i32")

/**
 * Values along one axis. `coords[a]` holds the coordinate of axis a, `position` that of the running one. Creating a
 * stream emits the invariant part at this place; `value` emits the rest.
 */
export class ExpressionStream {
  private readonly f: FunctionBuilder
  private readonly env: Environment
  private readonly axis: number
  private readonly coords: readonly (Local | undefined)[]
  private readonly position: Local
  private accumulator: Local | undefined
  /** Two vectors that are read together, from an offset on: elements of two bytes are loaded once for both. */
  private pair: { readonly offset: number; readonly loaded: Map<Expr, Local> } | undefined
  private readonly hoisted = new Map<Expr, { scalar: Local | undefined; splat: Local | undefined }>()
  private readonly bases = new Map<Expr, { base: Local; step: number; at?: Local }>()
  private readonly varies = new Map<Expr, boolean>()
  private readonly uses = new Map<Expr, number>()
  private readonly seen = new Set<Expr>()

  /** `roots` are all the expressions that will be asked for; `accumulator` is what `acc` reads. */
  constructor(f: FunctionBuilder, env: Environment, axis: number, coords: readonly (Local | undefined)[], position: Local, roots: readonly Expr[], accumulator?: Local) {
    this.f = f
    this.env = env
    this.axis = axis
    this.coords = coords
    this.position = position
    this.accumulator = accumulator
    for (const e of flatten(roots)) for (const s of e.src) this.uses.set(s, (this.uses.get(s) ?? 0) + 1)
    for (const e of flatten(roots)) this.varies.set(e, e.op === "acc" || (e.op === "index" && e.value === axis) || e.src.some((s) => this.varies.get(s)!))
    const memo = new Map<Expr, Local>()
    for (const root of roots) this.hoist(root, memo)
  }

  private hoist(e: Expr, memo: Map<Expr, Local>): void {
    if (this.seen.has(e)) return
    this.seen.add(e)
    if (e.op === "const") {
      // Without a running axis nothing is computed on vectors.
      if (this.axis >= 0 && e.type !== "f64" && e.type !== "bool")
        this.hoisted.set(e, { scalar: undefined, splat: this.env.constants.load(this.f, e.type === "f32" ? f32Bits(e.value) : e.value) })
      return
    }
    if (!this.varies.get(e)) {
      const scalar = this.f.local(valueType(e.type))
      this.scalar(e, 0, memo, undefined)
      this.f.set(scalar)
      let splat: Local | undefined
      if (e.type !== "f64") {
        splat = this.f.local("v128")
        this.f.get(scalar)
        this.splat(e)
        this.f.set(splat)
      }
      this.hoisted.set(e, { scalar, splat })
      return
    }
    if (e.op === "load" && this.hoistAddress(e, memo)) return
    for (const s of e.src) this.hoist(s, memo)
  }

  /** An index that is linear along the axis: the address of position 0, and elements per step. */
  private hoistAddress(e: Expr, memo: Map<Expr, Local>): boolean {
    const at = e.src[0]!
    const sum = expr.sumOf(at)
    let step = 0
    for (const [term, k] of sum.terms) {
      if (!this.varies.get(term)) continue
      if (term.op !== "index") return false
      step = k
    }
    const bytes = bytesOf(e.dtype!)
    if (step < 0) return false
    const { f } = this
    const base = f.local("i32")
    f.get(this.env.parameters[e.value]!)
    for (const [term, k] of sum.terms) {
      if (this.varies.get(term)) continue
      this.scalar(term, 0, memo, undefined)
      f.scale(k * bytes)
      f.op("i32.add")
    }
    if (sum.rest !== 0) {
      f.i32(sum.rest * bytes)
      f.op("i32.add")
    }
    f.set(base)
    this.bases.set(e, { base, step: step * bytes })
    return true
  }

  private splat(e: Expr): void {
    if (e.type === "f32") this.f.op("f32x4.splat")
    else if (e.type === "bool") {
      // A lane mask: all ones for true.
      this.f.i32(0)
      this.f.op("i32.ne", "i32x4.splat", "i32x4.neg")
    } else this.f.op("i32x4.splat")
  }

  /** Pushes `root` at position + offset: a scalar, or a vector of four (masks for bool). */
  value(root: Expr, lanes: Lanes, offset = 0): void {
    const memo = new Map<Expr, Local>()
    if (lanes === 1) this.scalar(root, offset, memo, undefined)
    else this.vector(root, offset, memo)
  }

  /** Four elements of each of some expressions, as vectors in locals; what they share is computed once. */
  each(roots: readonly Expr[]): Local[] {
    const memo = new Map<Expr, Local>()
    return roots.map((root) => {
      const local = this.f.local("v128")
      this.vector(root, 0, memo)
      this.f.set(local)
      return local
    })
  }

  /**
   * The 4·count elements of `root` from `position` on, as vectors in locals; `acc` reads the given ones in turn. Their
   * addresses are computed once: V8's revectorizer pairs only loads of one address.
   */
  vectors(root: Expr, count: number, accumulators?: readonly Local[]): Local[] {
    const { f } = this
    for (const base of this.bases.values()) {
      base.at = f.local("i32")
      this.pushAddress(base.base, base.step)
      f.set(base.at)
    }
    const values = Array.from({ length: count }, (_, i) => {
      const local = f.local("v128")
      if (i % 2 === 0) this.pair = i + 1 < count ? { offset: 4 * i, loaded: new Map() } : undefined
      if (accumulators) this.accumulate(accumulators[i]!)
      this.value(root, 4, 4 * i)
      f.set(local)
      return local
    })
    for (const base of this.bases.values()) delete base.at
    this.pair = undefined
    return values
  }

  private pushAddress(base: Local, step: number): void {
    this.f.get(base)
    this.f.get(this.position)
    this.f.scale(step)
    this.f.op("i32.add")
  }

  /** Lets `acc` read another local from now on. */
  accumulate(accumulator: Local): void {
    this.accumulator = accumulator
  }

  // — one element —

  /** `lane` is a local that stands for the running coordinate instead of position + offset. */
  private scalar(e: Expr, offset: number, memo: Map<Expr, Local>, lane: Local | undefined): void {
    const { f } = this
    const hoisted = this.hoisted.get(e)
    if (hoisted?.scalar) return f.get(hoisted.scalar)
    const known = memo.get(e)
    if (known) return f.get(known)
    this.scalarOf(e, offset, memo, lane)
    if (e.src.length === 0 || (this.uses.get(e) ?? 0) < 2) return
    const local = f.local(valueType(e.type))
    f.tee(local)
    memo.set(e, local)
  }

  private scalarOf(e: Expr, offset: number, memo: Map<Expr, Local>, lane: Local | undefined): void {
    const { f, env } = this
    const go = (s: Expr): void => this.scalar(s, offset, memo, lane)
    switch (e.op) {
      case "const":
        if (e.type === "f32") f.f32(e.value)
        else if (e.type === "f64") f.f64(e.value)
        else f.i32(e.value)
        return
      case "index":
        if (e.value !== this.axis) return f.get(this.coords[e.value]!)
        if (lane) return f.get(lane)
        return f.address(this.position, offset, 1)
      case "scalar": return f.get(env.scalars[e.value]!)
      case "acc": return f.get(this.accumulator!)
      case "load": {
        const base = this.bases.get(e)
        if (base && !lane) {
          if (base.at) f.get(base.at)
          else this.pushAddress(base.base, base.step)
          return loadScalar(f, e.dtype!, offset * base.step)
        }
        f.get(env.parameters[e.value]!)
        go(e.src[0]!)
        f.scale(bytesOf(e.dtype!))
        f.op("i32.add")
        return loadScalar(f, e.dtype!, 0)
      }
      default: return scalarSpelling(f, env.host, e, go)
    }
  }

  // — four elements —

  private vector(e: Expr, offset: number, memo: Map<Expr, Local>): void {
    const { f } = this
    const hoisted = this.hoisted.get(e)
    if (hoisted?.splat) return f.get(hoisted.splat)
    const known = memo.get(e)
    if (known) return f.get(known)
    this.vectorOf(e, offset, memo)
    if (e.src.length === 0 || (this.uses.get(e) ?? 0) < 2) return
    const local = f.local("v128")
    f.tee(local)
    memo.set(e, local)
  }

  private vectorOf(e: Expr, offset: number, memo: Map<Expr, Local>): void {
    const { f } = this
    const go = (s: Expr): void => this.vector(s, offset, memo)
    switch (e.op) {
      case "const":
        if (e.type === "f32") f.f32x4(e.value)
        else f.i32x4(e.type === "bool" ? -e.value : e.value)
        return
      case "index":
        f.get(this.position)
        f.op("i32x4.splat")
        f.i32x4(offset, offset + 1, offset + 2, offset + 3)
        return f.op("i32x4.add")
      case "acc": return f.get(this.accumulator!)
      case "load": {
        const base = this.bases.get(e)
        if (base?.step === bytesOf(e.dtype!)) {
          if (this.pair !== undefined && base.step === 2) return this.half(e, offset, base.at!)
          if (base.at) f.get(base.at)
          else this.pushAddress(base.base, base.step)
          return loadVector(f, e.dtype!, offset * base.step)
        }
        return this.lanes(e, (lane) => {
          if (base) {
            if (base.at) f.get(base.at)
            else this.pushAddress(base.base, base.step)
            return loadScalar(f, e.dtype!, (offset + lane) * base.step)
          }
          const at = f.local("i32")
          f.address(this.position, offset + lane, 1)
          f.set(at)
          this.scalar(e, offset, new Map(), at)
        })
      }
      default:
        // All lanes by one count, which is no constant.
        const count = e.op === "shl" || e.op === "shr" ? this.hoisted.get(e.src[1]!)?.scalar : undefined
        if (count !== undefined) {
          go(e.src[0]!)
          f.get(count)
          return shiftVector(f, e)
        }
        // A constant of the pool stays in a register.
        if (e.op === "rem" && e.src[0]!.low >= 0 && e.src[1]!.op === "const" && Number.isInteger(Math.log2(e.src[1]!.value))) {
          go(e.src[0]!)
          f.get(this.env.constants.load(f, e.src[1]!.value - 1))
          return f.op("v128.and")
        }
        // Four f64 fit in no vector.
        if (e.src.some((s) => s.type === "f64")) return this.lanes(e, (lane) => this.scalar(e, offset + lane, new Map(), undefined))
        if (vectorSpelling(f, e, this.env.relaxed, go)) return
        // No vector instruction: operands lane by lane through the scalar one.
        const operands = e.src.map((s) => {
          const local = f.local("v128")
          go(s)
          f.set(local)
          return local
        })
        this.lanes(e, (lane) => scalarSpelling(f, this.env.host, e, (s) => {
          f.get(operands[e.src.indexOf(s)]!)
          f.lane(s.type === "f32" ? "f32x4.extract_lane" : "i32x4.extract_lane", lane)
          if (s.type === "bool") {
            f.i32(1)
            f.op("i32.and")
          }
        }))
    }
  }

  /** Widens one half of eight elements of two bytes. The revectorizer joins halves of one vector, but not loads that widen. */
  private half(e: Expr, offset: number, at: Local): void {
    const { f } = this, { loaded, offset: first } = this.pair!
    let both = loaded.get(e)
    if (both === undefined) {
      loaded.set(e, (both = f.local("v128")))
      f.get(at); f.load("v128.load", 2 * first, 0); f.set(both)
    }
    f.get(both)
    f.op(`i32x4.extend_${offset === first ? "low" : "high"}_i16x8_${e.dtype === "i16" ? "s" : "u"}`)
  }

  /** Builds a vector from four scalars. */
  private lanes(e: Expr, push: (lane: number) => void): void {
    for (let lane = 0; lane < 4; lane++) {
      push(lane)
      if (lane === 0) this.splat(e)
      else {
        if (e.type === "bool") this.f.op("i32.eqz", "i32.eqz")
        if (e.type === "bool") {
          this.f.i32(-1)
          this.f.op("i32.mul")
        }
        this.f.lane(e.type === "f32" ? "f32x4.replace_lane" : "i32x4.replace_lane", lane)
      }
    }
  }
}

export function loadScalar(f: FunctionBuilder, dtype: DType, offset: number): void {
  if (dtype === "f32") f.load("f32.load", offset)
  else if (dtype === "f64") f.load("f64.load", offset)
  else if (dtype === "i32" || dtype === "u32") f.load("i32.load", offset)
  else if (dtype === "i16") f.load("i32.load16_s", offset)
  else if (dtype === "i8") f.load("i32.load8_s", offset)
  else f.load(bytesOf(dtype) === 2 ? "i32.load16_u" : "i32.load8_u", offset)
}

function loadVector(f: FunctionBuilder, dtype: DType, offset: number): void {
  const bytes = bytesOf(dtype)
  if (bytes === 4) return f.load("v128.load", offset, 0)
  if (bytes === 2) return f.load(dtype === "i16" ? "v128.load16x4_s" : "v128.load16x4_u", offset, 0)
  f.load("v128.load32_zero", offset, 0)
  if (dtype === "i8") f.op("i16x8.extend_low_i8x16_s", "i32x4.extend_low_i16x8_s")
  else f.op("i16x8.extend_low_i8x16_u", "i32x4.extend_low_i16x8_u")
  if (dtype === "bool") {
    f.i32x4(0)
    f.op("i32x4.ne")
  }
}

/** Stores a scalar: address and value are on the stack. f16 and bf16 come as their 16 bits. */
export function storeScalar(f: FunctionBuilder, dtype: DType, offset = 0): void {
  const bytes = bytesOf(dtype)
  if (dtype === "f32") f.store("f32.store", offset)
  else if (dtype === "f64") f.store("f64.store", offset)
  else f.store(bytes === 4 ? "i32.store" : bytes === 2 ? "i32.store16" : "i32.store8", offset)
}

/** Stores four values: address and vector are on the stack. Narrow types keep the low bits of their lanes. */
export function storeVector(f: FunctionBuilder, dtype: DType, offset = 0): void {
  const bytes = bytesOf(dtype)
  if (bytes === 4) return f.store("v128.store", offset, 0)
  // Masks have all bits set; stored bools have one.
  if (dtype === "bool") {
    f.i32x4(1)
    f.op("v128.and")
  }
  f.v128const(bytes === 2 ? [0, 1, 4, 5, 8, 9, 12, 13, 16, 16, 16, 16, 16, 16, 16, 16] : [0, 4, 8, 12, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16])
  f.op("i8x16.swizzle")
  f.laneMemory(bytes === 2 ? "v128.store64_lane" : "v128.store32_lane", 0, offset)
}
