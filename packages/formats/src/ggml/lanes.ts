// The searches of `search` for four groups at once, one to a lane of WebAssembly's vectors: within a lane every operation
// is the scalar one, in its order, so the results are the same to the bit. Branches become selections.
import { ModuleBuilder, type FunctionBuilder, type Local, type PlainOp } from "@thimble/core/assembler"
import { nothing } from "./round.ts"

/** Code that pushes a vector of four floats, or a mask of four. */
type Vector = () => void

/** Where things are in the memory of the module, in bytes; the columns are what four groups have, element by element. */
export const place = { values: 0, weights: 16384, scales: 32768, drops: 33792, columns: 34816, rates: 36864 } as const
const scratch = { x: place.columns, w: place.columns + 512, l: place.columns + 1024 }
/** Elements that fit. */
export const room = 4096

/** Vectors as expressions. */
function vectors(f: FunctionBuilder) {
  const two = (op: PlainOp) => (a: Vector, b: Vector): Vector => () => { a(); b(); f.op(op) }
  const one = (op: PlainOp) => (a: Vector): Vector => () => { a(); f.op(op) }
  const of = (local: Local): Vector => () => f.get(local)
  return {
    of,
    add: two("f32x4.add"), sub: two("f32x4.sub"), mul: two("f32x4.mul"), div: two("f32x4.div"),
    same: two("f32x4.eq"), lt: two("f32x4.lt"), le: two("f32x4.le"), both: two("v128.and"), either: two("v128.or"),
    abs: one("f32x4.abs"), neg: one("f32x4.neg"), nearest: one("f32x4.nearest"),
    all: (v: number): Vector => () => f.f32x4(v),
    splat: (v: Local): Vector => () => { f.get(v); f.op("f32x4.splat") },
    /** b < a ? b : a, and a < b ? b : a. What is no number stays if it stands in front. */
    least: two("f32x4.pmin"), most: two("f32x4.pmax"),
    pick: (mask: Vector, a: Vector, b: Vector): Vector => () => { a(); b(); mask(); f.op("v128.bitselect") },
    load: (at: Local, offset: number): Vector => () => { f.get(at); f.load("v128.load", offset) },
    store(at: Local, offset: number, v: Vector): void { f.get(at); v(); f.store("v128.store", offset) },
    set(local: Local, v: Vector): void { v(); f.set(local) },
    /** A new variable, and one with this value. */
    local: (): Local => f.local("v128"),
    let(v: Vector): Local { const local = f.local("v128"); v(); f.set(local); return local },
  }
}
type Vectors = ReturnType<typeof vectors>

/** Elements i … i + unroll of the columns: `step` is given the byte offset of each from a local. */
function each(f: FunctionBuilder, n: number, step: (at: Local, offset: number) => void): void {
  const at = f.local("i32"), unroll = 8
  f.forRange(at, 0, 16 * n, 16 * unroll, () => { for (let i = 0; i < unroll; i++) step(at, 16 * i) })
}

/** Turns n elements of four groups at a byte address into columns: four by four, rows become columns. */
function toColumns(f: FunctionBuilder, v: Vectors, n: number, from: Local, offset: number, to: number): void {
  const zero = f.local("i32")
  f.assign(zero, 0)
  for (let i = 0; i < n; i += 4) {
    const rows = [0, 1, 2, 3].map((g) => v.let(v.load(from, offset + 4 * (g * n + i))))
    const halves = ([a, b]: readonly [number, number], high: boolean): Local => v.let(() => {
      f.get(rows[a]!)
      f.get(rows[b]!)
      if (high) f.shuffle32(2, 6, 3, 7)
      else f.shuffle32(0, 4, 1, 5)
    })
    for (const high of [false, true]) {
      const first = halves([0, 1], high), second = halves([2, 3], high)
      for (const part of [0, 1])
        v.store(zero, to + 16 * (i + (high ? 2 : 0) + part), () => {
          f.get(first)
          f.get(second)
          if (part === 0) f.shuffle32(0, 1, 4, 5)
          else f.shuffle32(2, 3, 6, 7)
        })
    }
  }
}

/** Runs `body` for every four of `count` groups of n; `from` is their byte offset among elements, `to` among results. */
function byFours(f: FunctionBuilder, n: number, count: Local, body: (from: Local, to: Local) => void): void {
  const [from, to, end] = [f.local("i32"), f.local("i32"), f.local("i32")]
  f.assign(end, () => { f.get(count); f.scale(4) })
  f.forRange(to, 0, end, 16, () => {
    f.assign(from, () => { f.get(to); f.scale(n) })
    body(from, to)
  })
}

/** {@link affine} for groups of n: parameters as its `AffineSearch` has them. */
function emitAffine(m: ModuleBuilder, n: number, magnitude: boolean, name: string): void {
  m.function(["i32", "f32", "f32", "f32", "i32"], [], (f, count, top, first, rise, tries) => {
    const v = vectors(f), { of } = v
    byFours(f, n, count!, (from, to) => {
      toColumns(f, v, n, from, place.values, scratch.x)
      toColumns(f, v, n, from, place.weights, scratch.w)
      const most = v.let(v.splat(top!)), zero = v.all(0)
      const min = v.local(), max = v.local(), sw = v.local(), sx = v.local(), best = v.local(), scale = v.local(), inverse = v.local()
      const sl = v.local(), sl2 = v.local(), sxl = v.local(), error = v.local()
      const x = (at: Local, i: number): Vector => v.load(at, scratch.x + i), w = (at: Local, i: number): Vector => v.load(at, scratch.w + i)
      const code = (at: Local, i: number): Vector => v.most(v.least(v.nearest(v.mul(of(inverse), v.sub(x(at, i), of(min)))), of(most)), zero)
      /** Adds the weighted error of a code on a scale. */
      const addError = (sum: Local, at: Local, i: number, l: Vector, s: Local, low: Local): void => {
        const d = v.let(v.sub(v.add(v.mul(of(s), l), of(low)), x(at, i)))
        v.set(sum, v.add(of(sum), v.mul(w(at, i), magnitude ? v.abs(of(d)) : v.mul(of(d), of(d)))))
      }
      const start = f.local("i32")
      f.assign(start, 0)
      v.set(min, x(start, 0))
      v.set(max, of(min))
      for (const sum of [sw, sx, best]) v.set(sum, zero)
      each(f, n, (at, i) => {
        const [value, weight] = [v.let(x(at, i)), v.let(w(at, i))]
        v.set(min, v.least(of(min), of(value)))
        v.set(max, v.most(of(max), of(value)))
        v.set(sw, v.add(of(sw), of(weight)))
        v.set(sx, v.add(of(sx), v.mul(of(weight), of(value))))
      })
      v.set(min, v.least(of(min), zero))
      const flat = v.let(v.le(of(max), of(min))), drop = v.let(v.neg(of(min)))
      v.set(inverse, v.div(of(most), v.sub(of(max), of(min))))
      v.set(scale, v.div(v.all(1), of(inverse)))
      each(f, n, (at, i) => addError(best, at, i, code(at, i), scale, min))
      const t = f.local("i32"), numerator = f.local("f32"), end = f.local("i32")
      f.assign(end, () => { f.get(tries!); f.i32(1); f.op("i32.add") })
      f.forRange(t, 0, end, 1, () => {
        f.get(first!)
        f.get(rise!)
        f.get(t)
        f.op("f32.convert_i32_s", "f32.mul", "f32.add")
        f.get(top!)
        f.op("f32.add")
        f.set(numerator)
        // `min` is the best one so far, `max` never changes: so does ggml.
        v.set(inverse, v.div(v.splat(numerator), v.sub(of(max), of(min))))
        for (const sum of [sl, sl2, sxl]) v.set(sum, zero)
        each(f, n, (at, i) => {
          const l = v.let(code(at, i))
          v.store(at, scratch.l + i, of(l))
          const wl = v.let(v.mul(w(at, i), of(l)))
          v.set(sl, v.add(of(sl), of(wl)))
          v.set(sl2, v.add(of(sl2), v.mul(of(wl), of(l))))
          v.set(sxl, v.add(of(sxl), v.mul(of(wl), x(at, i))))
        })
        const det = v.let(v.sub(v.mul(of(sw), of(sl2)), v.mul(of(sl), of(sl))))
        const low = v.let(v.div(v.sub(v.mul(of(sl2), of(sx)), v.mul(of(sl), of(sxl))), of(det))), above = v.let(v.lt(zero, of(low)))
        const next = v.let(v.pick(of(above), v.div(of(sxl), of(sl2)), v.div(v.sub(v.mul(of(sw), of(sxl)), v.mul(of(sx), of(sl))), of(det))))
        v.set(low, v.pick(of(above), zero, of(low)))
        v.set(error, zero)
        each(f, n, (at, i) => addError(error, at, i, v.load(at, scratch.l + i), next, low))
        const better = v.let(v.both(v.lt(zero, of(det)), v.lt(of(error), of(best))))
        for (const [kept, found] of [[best, error], [scale, next], [min, low]] as const) v.set(kept, v.pick(of(better), of(found), of(kept)))
      })
      v.store(to, place.scales, v.pick(of(flat), zero, of(scale)))
      v.store(to, place.drops, v.pick(of(flat), of(drop), v.neg(of(min))))
    })
  }, name)
}

/** {@link symmetric} for groups of n with weights x² or given ones; `rates` are its numerators, −(top + step/10), the plain one first. */
function emitSymmetric(m: ModuleBuilder, n: number, weighted: boolean, name: string): void {
  m.function(["i32", "f32", "i32", "i32"], [], (f, count, top, rates, tries) => {
    const v = vectors(f), { of } = v
    byFours(f, n, count!, (from, to) => {
      toColumns(f, v, n, from, place.values, scratch.x)
      if (weighted) toColumns(f, v, n, from, place.weights, scratch.w)
      const x = (at: Local, i: number): Vector => v.load(at, scratch.x + i), w = (at: Local, i: number): Vector => v.load(at, scratch.w + i)
      const lowest = v.let(v.neg(v.splat(top!))), highest = v.let(v.sub(v.splat(top!), v.all(1)))
      const extreme = v.local(), scale = v.local(), best = v.local(), inverse = v.local(), sx = v.local(), s2 = v.local()
      for (const sum of [extreme, scale, best]) v.set(sum, v.all(0))
      each(f, n, (at, i) => {
        const value = v.let(x(at, i))
        v.set(extreme, v.pick(v.lt(v.abs(of(extreme)), v.abs(of(value))), of(value), of(extreme)))
        if (!weighted) v.store(at, scratch.w + i, v.mul(of(value), of(value)))
      })
      // The products of weights and values, that all tries share.
      each(f, n, (at, i) => v.store(at, scratch.l + i, v.mul(w(at, i), x(at, i))))
      const t = f.local("i32"), end = f.local("i32"), rate = f.local("f32")
      f.assign(end, () => { f.get(rates!); f.get(tries!); f.scale(4); f.op("i32.add") })
      const first = v.let(() => f.i32x4(-1))
      f.forRange(t, rates!, end, 4, () => {
        f.get(t)
        f.load("f32.load")
        f.set(rate)
        v.set(inverse, v.div(v.splat(rate), of(extreme)))
        for (const sum of [sx, s2]) v.set(sum, v.all(0))
        each(f, n, (at, i) => {
          const l = v.let(v.most(v.least(v.nearest(v.mul(of(inverse), x(at, i))), of(highest)), of(lowest)))
          v.set(sx, v.add(of(sx), v.mul(v.load(at, scratch.l + i), of(l))))
          v.set(s2, v.add(of(s2), v.mul(v.mul(w(at, i), of(l)), of(l))))
        })
        const some = v.let(v.lt(v.all(0), of(s2)))
        const better = v.let(v.either(of(first), v.both(of(some), v.lt(v.mul(of(best), of(s2)), v.mul(of(sx), of(sx))))))
        const found = v.let(v.pick(v.same(of(s2), v.all(0)), v.all(0), v.div(of(sx), of(s2))))
        v.set(scale, v.pick(of(better), of(found), of(scale)))
        v.set(best, v.pick(of(better), v.mul(of(found), of(sx)), of(best)))
        v.set(first, v.all(0))
      })
      v.store(to, place.scales, v.pick(v.lt(v.abs(of(extreme)), v.all(nothing)), v.all(0), of(scale)))
    })
  }, name)
}

/** What the module exports. */
export interface Lanes {
  readonly memory: WebAssembly.Memory
  readonly affine16: AffineLanes
  readonly affine32: AffineLanes
  readonly magnitude16: AffineLanes
  readonly symmetric16: SymmetricLanes
  readonly weighted16: SymmetricLanes
}
type AffineLanes = (count: number, top: number, first: number, rise: number, tries: number) => void
type SymmetricLanes = (count: number, top: number, rates: number, tries: number) => void

/** The module's instance; nothing where vectors, or WebAssembly, are missing or forbidden. */
export function openLanes(): Lanes | undefined {
  const m = new ModuleBuilder()
  m.export("memory", m.memory({ initial: 1 }))
  emitAffine(m, 16, false, "affine16")
  emitAffine(m, 32, false, "affine32")
  emitAffine(m, 16, true, "magnitude16")
  emitSymmetric(m, 16, false, "symmetric16")
  emitSymmetric(m, 16, true, "weighted16")
  try {
    return new WebAssembly.Instance(new WebAssembly.Module(m.finish())).exports as unknown as Lanes
  } catch {
    return undefined
  }
}
