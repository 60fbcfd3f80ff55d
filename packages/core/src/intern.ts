import type { DType, Scalar } from "./dtype.ts"

/**
 * The closed scalar alphabet: everything an emitter must spell. Values are the number of sources.
 *
 * Semantics (the reference device is the definition): f32 operations round once; `min`/`max` propagate NaN; `round` is
 * half to even; integer `div` truncates, `rem` has the dividend's sign, both give 0 for a zero divisor; shifts use the
 * low five bits; `shr` is arithmetic on i32 and logical on u32; `cast` float → integer truncates and saturates (NaN → 0);
 * `store` narrows a value to what its dtype can hold (f16/bf16 rounding, integer wrap-around); `not` is logical on bool
 * and bitwise on integers.
 */
export const alphabet = {
  const: 0, index: 0, scalar: 0, acc: 0, load: 1,
  neg: 1, abs: 1, sqrt: 1, exp: 1, log: 1, sin: 1, cos: 1, atan: 1, tanh: 1, erf: 1,
  floor: 1, ceil: 1, round: 1, trunc: 1, not: 1, cast: 1, bitcast: 1, store: 1,
  add: 2, sub: 2, mul: 2, div: 2, rem: 2, min: 2, max: 2, pow: 2,
  and: 2, or: 2, xor: 2, shl: 2, shr: 2, lt: 2, le: 2, eq: 2,
  select: 3,
} as const satisfies Record<string, number>

export type ExprOp = keyof typeof alphabet

/**
 * One value of the scalar alphabet. Expressions are interned: equal ones are identical within one {@link freshExprs}
 * scope, so sharing is free and common subexpressions are evaluated once.
 */
export interface Expr {
  readonly op: ExprOp
  readonly type: Scalar
  readonly src: readonly Expr[]
  /** `const`: the value · `index`: axis of the kernel · `scalar`, `load`: number of the kernel's scalar or parameter. */
  readonly value: number
  /** Storage type of a `load` or `store`. */
  readonly dtype: DType | undefined
  /** Bounds of an integer value, used to simplify index arithmetic; infinite when nothing is known. */
  readonly low: number
  readonly high: number
  /** Number within its scope; sources have smaller ids. */
  readonly id: number
}

/** The expressions of a scope by hash, in an open-addressed table of a power of two places. */
interface Scope { places: (Expr | undefined)[]; count: number }
/** Places for the expressions of most kernels. */
const usual = 256
const newScope = (): Scope => ({ places: new Array<Expr | undefined>(usual).fill(undefined), count: 0 })
let scope = newScope()
/** An empty one, for the next to come. */
let spare: Scope | undefined

/** Runs `fn` with an empty intern table, so that what it builds (one kernel) can be collected afterwards. */
export function freshExprs<T>(fn: () => T): T {
  const outer = scope, inner = spare ?? newScope()
  spare = undefined
  scope = inner
  try {
    return fn()
  } finally {
    scope = outer
    if (inner.places.length === usual) {
      inner.places.fill(undefined)
      inner.count = 0
      spare = inner
    }
  }
}

/** What leaves of expressions are made of. */
export const noSources: readonly Expr[] = []

/** The one expression of the scope with these parts. Bounds follow from the parts, except for an index, whose size tells it apart. */
export function intern(op: ExprOp, type: Scalar, src: readonly Expr[], value = 0, dtype?: DType, low = -Infinity, high = Infinity): Expr {
  const { places } = scope
  const mask = places.length - 1
  let at = hashOf(op, src, value) & mask
  for (let e = places[at]; e !== undefined; e = places[(at = (at + 1) & mask)])
    if (e.op === op && e.type === type && e.dtype === dtype && Object.is(e.value, value) && sameSources(e.src, src) && (op !== "index" || e.high === high)) return e
  const made: Expr = { op, type, src, value, dtype, low, high, id: scope.count++ }
  places[at] = made
  if (scope.count * 2 > places.length) grow()
  return made
}

function sameSources(a: readonly Expr[], b: readonly Expr[]): boolean {
  for (let i = 0; i < b.length; i++) if (a[i] !== b[i]) return false
  return true
}

function hashOf(op: ExprOp, src: readonly Expr[], value: number): number {
  let hash = op.charCodeAt(0) ^ (op.charCodeAt(1) << 5) ^ Math.imul(value, 0x9e3779b1)
  for (let i = 0; i < src.length; i++) hash = Math.imul(hash ^ (src[i]!.id + 1), 0x85ebca6b)
  return hash ^ (hash >>> 15)
}

function grow(): void {
  const places = new Array<Expr | undefined>(scope.places.length * 2).fill(undefined)
  const mask = places.length - 1
  for (let i = 0; i < scope.places.length; i++) {
    const e = scope.places[i]
    if (e === undefined) continue
    let at = hashOf(e.op, e.src, e.value) & mask
    while (places[at] !== undefined) at = (at + 1) & mask
    places[at] = e
  }
  scope.places = places
}
