import fc from "fast-check"
import {
  broadcastShapes, castTo, dtypes, expand, flip, isFloat, isInteger, limitsOf, mul, permute, sizeOf, slice, tensor, Tensor,
  type DType, type Shape,
} from "@thimble/core"

/**
 * What the elements of a generated tensor are like. Three are laid out by `seed`: `cycle` has every special value in turn,
 * each `seed` times; `lone` has one in each row of `seed` elements, at a place that moves; `zeros` mixes those of both signs.
 * `limits` are special values whose products are the same in any order.
 */
export type Values = "plain" | "special" | "limits" | "ties" | "large" | "distinct" | "cycle" | "lone" | "zeros"
/** How the tensor lies in memory: as stored, through a movement, or not stored at all but computed by its reader. */
export type View = "stored" | "permuted" | "sliced" | "flipped" | "expanded" | "computed"

/** Bounds of plain values, and points that they keep away from (kinks, where a derivative jumps). */
export interface Domain { readonly low: number; readonly high: number; readonly avoid?: readonly number[] }
export const wide: Domain = { low: -3, high: 3 }

/** A tensor in words: it prints, shrinks, and is made anew on every device. */
export class Spec {
  readonly shape: Shape
  readonly dtype: DType
  readonly values: Values
  readonly domain: Domain
  readonly seed: number
  readonly view: View
  /** Not differentiated: a target, a mask, an index. */
  readonly held: boolean
  /** Zeros in the place of numbers below the normal ones of f32. */
  readonly normal: boolean

  constructor(shape: Shape, dtype: DType, { values = "plain", domain = wide, seed = 1, view = "stored", held = false, normal = false }: Partial<Pick<Spec, "values" | "domain" | "seed" | "view" | "held" | "normal">> = {}) {
    this.shape = shape
    this.dtype = dtype
    this.values = values
    this.domain = domain
    this.seed = seed
    this.view = view
    this.held = held
    this.normal = normal
  }
  toString(): string {
    const range = this.values === "plain" || this.values === "distinct" ? ` ${this.domain.low}…${this.domain.high}` : ""
    return `${this.dtype}[${this.shape.join(", ")}] ${this.view} ${this.values}${range} #${this.seed}`
  }
  [fc.toStringMethod](): string { return this.toString() }

  /** The largest finite size of an element. */
  get magnitude(): number {
    return elements(this, sizeOf(this.shape)).reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0)
  }
  /** On the current device; `float` replaces f64. */
  make(float?: DType): Tensor {
    const dtype = float !== undefined && this.dtype === "f64" ? float : this.dtype
    const own = (n: number): Float64Array => (this.normal && isFloat(dtype) ? elements(this, n).map((v) => (Math.abs(v) < 2 ** -126 ? Math.sign(v) * 0 : v)) : elements(this, n))
    return views[this.view](this, (shape) => tensor(own(sizeOf(shape)), { shape, dtype }))
  }
}

const views: Record<View, (spec: Spec, base: (shape: Shape) => Tensor) => Tensor> = {
  stored: ({ shape }, base) => base(shape),
  permuted: ({ shape }, base) => permute(base([...shape].reverse())),
  sliced({ shape }, base) {
    const last = shape.length - 1
    return slice(base(shape.map((n, i) => (i === last ? 2 * n + 1 : n + 2))), ...shape.map((n, i) => (i === last ? [1, 2 * n + 1, 2] : [1, n + 1]) as [number, number, number?]))
  },
  flipped: ({ shape }, base) => flip(base(shape)),
  expanded({ shape, seed }, base) {
    const axis = shape.length > 0 ? seed % shape.length : -1
    return expand(base(shape.map((n, i) => (i === axis && n > 0 ? 1 : n))), shape)
  },
  // Multiplying by one changes nothing, not even a NaN or the sign of a zero.
  computed: ({ shape }, base) => {
    const x = base(shape)
    return mul(x, castTo(tensor(1), x.dtype))
  },
}

/** Uniform numbers 0 … 1 from a seed (mulberry32). */
export function uniform(seed: number): () => number {
  let a = seed | 0
  return () => {
    a = (a + 0x6d2b79f5) | 0
    let t = Math.imul(a ^ (a >>> 15), 1 | a)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

// An odd number of each, so that a cycle brings every one of them to every lane of a vector.
export const specials: readonly number[] = [NaN, Infinity, -Infinity, -0, 0, 1, -1, 0.5, -2.5, 3.5, 1e-40, 3.4e38, -1e-8, 88.5, -103]
export function edgesOf(dtype: DType): readonly number[] {
  const [low, high] = limitsOf(dtype)
  return [low, high, low + 1, high - 1, 0, 1, 2, 3, 5]
}
/** Near the end in the first row, five further in each of the next. */
const isLone = (i: number, length: number): boolean => i % length === (5 * Math.floor(i / length) + length - 2) % length
const tied = [0, 1, 1, -1, 2, 2, -2, 0.5]

/** The first n elements, in an order that the dtype, view and shape have no part in. */
function elements({ dtype, values, domain, seed }: Spec, n: number): Float64Array {
  const random = uniform(seed)
  const pick = (list: readonly number[]): number => list[Math.floor(random() * list.length)]!
  const out = new Float64Array(n)
  if (dtype === "bool") return out.map(() => Number(random() < 0.5))
  if (isInteger(dtype)) {
    const [low, high] = limitsOf(dtype)
    const inside = (v: number): number => Math.min(Math.max(Math.floor(v), low), high)
    const edges = edgesOf(dtype)
    const draw: Record<Values, (i: number) => number> = {
      plain: () => inside(domain.low + random() * (domain.high - domain.low + 1)),
      special: () => pick(edges),
      limits: () => pick(edges),
      ties: () => inside(random() * 3),
      large: () => inside(low + random() * (high - low)),
      distinct: (i) => inside(i * 7 % Math.max(1, n)),
      cycle: (i) => edges[Math.floor(i / seed) % edges.length]!,
      lone: (i) => (isLone(i, seed) ? edges[Math.floor(i / seed) % edges.length]! : inside(random() * 3)),
      zeros: () => 0,
    }
    return out.map((_, i) => draw[values](i))
  }
  const away = (v: number): number => (domain.avoid ?? []).reduce((x, k) => (Math.abs(x - k) < 0.05 ? x + (x < k ? -0.05 : 0.05) : x), v)
  const between = (u: number): number => away(domain.low + u * (domain.high - domain.low))
  const order = values === "distinct" ? shuffled(n, random) : undefined
  const draw: Record<Values, (i: number) => number> = {
    plain: () => between(random()),
    special: () => (random() < 0.5 ? pick(specials) : between(random())),
    limits: () => (random() < 0.8 ? pick([1, -1]) : pick([NaN, Infinity, -Infinity, -0, 0])),
    ties: () => pick(tied),
    large: () => (random() < 0.5 ? -1 : 1) * 10 ** (random() * 76 - 38),
    distinct: (i) => between((order![i]! + 0.2 + 0.6 * random()) / n),
    cycle: (i) => specials[Math.floor(i / seed) % specials.length]!,
    lone: (i) => (isLone(i, seed) ? specials[Math.floor(i / seed) % specials.length]! : between(random())),
    zeros: () => pick([-0, 0, -0, -0, -1]),
  }
  return out.map((_, i) => draw[values](i))
}

function shuffled(n: number, random: () => number): Int32Array {
  const order = Int32Array.from({ length: n }, (_, i) => i)
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  return order
}

// ── Arbitraries ──

export const floats: readonly DType[] = ["f32", "f32", "f16", "bf16", "f64"]
export const integers: readonly DType[] = ["i32", "u32", "i16", "u16", "i8", "u8"]
export const numbers: readonly DType[] = [...floats, ...integers]
export const every: readonly DType[] = [...numbers, "bool"]

export interface Draw {
  /** Element types; floats unless given. */
  readonly types?: readonly DType[]
  readonly values?: readonly Values[]
  /** Of plain values in forward runs; −3 … 3 unless given. */
  readonly domain?: Domain
  /** Where finite differences hold; `domain` unless given. */
  readonly smooth?: Domain
  /** Elements must differ for a derivative to exist. */
  readonly distinct?: boolean
  readonly held?: boolean
}
/** Makes arbitraries for one purpose: any value that an op takes, or those at which it can be differentiated. */
export interface Gen {
  readonly gradient: boolean
  tensor(shape: Shape, options?: Draw): fc.Arbitrary<Spec>
  /** A size that forward runs also try as 0. */
  size(...sizes: readonly number[]): fc.Arbitrary<number>
  shape(least?: number, most?: number): fc.Arbitrary<Shape>
}

const seeds = fc.integer({ min: 1, max: 1e6 })
const allViews: readonly View[] = ["stored", "computed", "permuted", "sliced", "flipped", "expanded"]

const usual: readonly Values[] = ["plain", "plain", "special", "ties"]

function draw(gradient: boolean): Gen {
  const sizes = [1, 2, 3, 5, 4, 8, 13, ...(gradient ? [] : [0, 33])]
  return {
    gradient,
    size: (...own) => fc.constantFrom(...own, ...(gradient ? [] : [0])),
    shape: (least = 0, most = 4) =>
      fc.array(fc.constantFrom(...sizes), { minLength: least, maxLength: most, size: "max" }).filter((s) => sizeOf(s) <= (gradient ? 60 : 600)),
    tensor(shape, { types = floats, values = usual, domain = wide, smooth = domain, distinct = false, held = false } = {}) {
      const real = types.some(isFloat)
      const apart: Values = distinct ? "distinct" : "plain"
      const kinds: readonly Values[] = gradient ? [apart] : values
      const own: readonly DType[] = gradient && real ? ["f64"] : types
      return fc.record({
        // f32 has the vector code.
        dtype: own.includes("f32") ? fc.oneof(fc.constant<DType>("f32"), fc.constantFrom(...own)) : fc.constantFrom(...own), values: fc.constantFrom(...kinds), seed: seeds,
        view: fc.constantFrom(...allViews.filter((v) => v !== "expanded" || !(gradient && distinct))),
      }).map(({ dtype, ...rest }) => new Spec(shape, dtype, { ...rest, domain: gradient ? smooth : domain, held: held || !isFloat(dtype) }))
    },
  }
}
export const anything: Gen = draw(false)
export const differentiable: Gen = draw(true)

/** Two shapes that broadcast. */
export const pairs = (g: Gen): fc.Arbitrary<readonly [Shape, Shape]> =>
  fc.tuple(g.shape(), fc.nat(4), fc.nat(15), fc.nat(4), fc.nat(15)).map(([shape, skipA, onesA, skipB, onesB]) => {
    const part = (skip: number, ones: number): Shape => shape.slice(Math.min(skip > 2 ? 0 : skip, shape.length)).map((n, i) => ((ones >> i) & 1 && ones > 7 ? 1 : n))
    return [part(skipA, onesA), part(skipB, onesB)] as const
  }).filter(([a, b]) => broadcastShapes("pairs", a, b).length >= 0)

/** An axis by either of its names. */
export const axisOfRank = (rank: number): fc.Arbitrary<number> => fc.integer({ min: -rank, max: rank - 1 })

/** Arguments with tensors in the place of their descriptions. */
export type Made<A> = A extends Spec ? Tensor : A extends object ? { readonly [K in keyof A]: Made<A[K]> } : A

/** Every description among arguments, in order. */
export function specsOf(args: unknown): Spec[] {
  if (args instanceof Spec) return [args]
  return typeof args === "object" && args !== null ? Object.values(args).flatMap(specsOf) : []
}
/** What a device need not have. */
export interface Lacks { readonly f64: boolean; readonly subnormals: boolean }
/** The same arguments for a device that lacks something: f32 in the place of f64, where it is asked for by name as well; zeros in that of subnormal numbers. */
export function without<A>({ f64, subnormals }: Lacks, args: A): A {
  const walk = (x: unknown): unknown => {
    if (x instanceof Spec) return new Spec(x.shape, f64 && x.dtype === "f64" ? "f32" : x.dtype, { ...x, normal: subnormals })
    if (Array.isArray(x)) return x.map(walk)
    if (typeof x === "object" && x !== null && Object.getPrototypeOf(x) === Object.prototype) return Object.fromEntries(Object.entries(x).map(([k, v]) => [k, walk(v)]))
    return f64 && x === "f64" ? "f32" : x
  }
  return f64 || subnormals ? walk(args) as A : args
}
/** Makes the tensors, each once. */
export function makeAll<A>(args: A, make: (spec: Spec) => Tensor): Made<A> {
  const walk = (x: unknown): unknown => {
    if (x instanceof Spec) return make(x)
    if (Array.isArray(x)) return x.map(walk)
    return typeof x === "object" && x !== null && Object.getPrototypeOf(x) === Object.prototype ? Object.fromEntries(Object.entries(x).map(([k, v]) => [k, walk(v)])) : x
  }
  return walk(args) as Made<A>
}
export const epsilon = (dtype: DType): number => (dtype === "f64" ? 2 ** -52 : dtype === "f16" ? 2 ** -10 : dtype === "bf16" ? 2 ** -7 : dtypes[dtype].kind === "float" ? 2 ** -23 : 0)
