import { NotConverged } from "./failure.ts"
import { rotation, type Rotation } from "./rotation.ts"
import type { Rotations } from "./rotations.ts"

/**
 * Singular values of an upper bidiagonal matrix by implicit QR sweeps, with a sweep of shift zero where a shift would
 * cost small values their relative accuracy (Demmel & Kahan, "Accurate singular values of bidiagonal matrices", 1990).
 *
 * Sweeps run from the larger end of a block to the smaller. Only one direction is written down: read backwards, a
 * block is the transpose of an upper bidiagonal one, so the other direction swaps left and right.
 */
export function diagonaliseBidiagonal(op: string, d: Float64Array, e: Float64Array, left?: Rotations, right?: Rotations): void {
  const n = d.length
  const floor = smallestCoupling(d, e)
  // Rotations allowed in all: twice LAPACK's limit for dbdsqr; a fifth of this is usual.
  let allowed = 12 * n * n + 100
  let end = n - 1
  while (end > 0) {
    if (Math.abs(e[end - 1]!) <= floor) {
      e[--end] = 0
      continue
    }
    let start = end - 1
    while (start > 0 && Math.abs(e[start - 1]!) > floor) start--
    if (start > 0) e[start - 1] = 0
    const down = Math.abs(d[start]!) >= Math.abs(d[end]!)
    const block: Block = down
      ? { d, e, size: end - start + 1, at: start, step: 1, coupling: start, left, right }
      : { d, e, size: end - start + 1, at: end, step: -1, coupling: end - 1, left: right, right: left }
    const smallest = deflate(block)
    if (smallest < 0) continue
    allowed -= block.size
    if (allowed < 0) throw new NotConverged(op, e.filter((x) => x !== 0).length)
    const shift = chooseShift(block, smallest, n)
    if (shift === 0) sweepUnshifted(block)
    else sweepShifted(block, shift)
  }
  left?.apply()
  right?.apply()
}

/** Diagonal element i of a block is d[at + i·step], the element right of it e[coupling + i·step]. */
interface Block {
  readonly d: Float64Array
  readonly e: Float64Array
  readonly size: number
  readonly at: number
  readonly step: 1 | -1
  readonly coupling: number
  readonly left?: Rotations
  readonly right?: Rotations
}

/** Relative accuracy asked of every singular value of B: the strictest that LAPACK allows itself, at no cost in sweeps. */
const TOLERANCE = Number.EPSILON * 5

/** Couplings at or below this cannot change a singular value by more than the tolerance (Demmel & Kahan, §2). */
function smallestCoupling(d: Float64Array, e: Float64Array): number {
  const n = d.length
  if (n === 0) return 0
  let bound = Math.abs(d[0]!), smallest = bound
  for (let i = 1; i < n && smallest > 0; i++) {
    bound = Math.abs(d[i]!) * (bound / (bound + Math.abs(e[i - 1]!)))
    smallest = Math.min(smallest, bound)
  }
  return Math.max((TOLERANCE * smallest) / Math.sqrt(n), 6 * n * n * 2 ** -1022)
}

/**
 * Sets to zero the first coupling that is negligible by the paper's criterion 1 and returns -1; where there is none,
 * returns a lower bound of the block's smallest singular value.
 */
function deflate({ d, e, size, at, step, coupling }: Block): number {
  const last = coupling + (size - 2) * step
  if (Math.abs(e[last]!) <= TOLERANCE * Math.abs(d[at + (size - 1) * step]!)) {
    e[last] = 0
    return -1
  }
  let bound = Math.abs(d[at]!), smallest = bound
  for (let i = 0; i < size - 1; i++) {
    const x = Math.abs(e[coupling + i * step]!)
    if (x <= TOLERANCE * bound) {
      e[coupling + i * step] = 0
      return -1
    }
    bound = Math.abs(d[at + (i + 1) * step]!) * (bound / (bound + x))
    smallest = Math.min(smallest, bound)
  }
  return smallest
}

/** The smaller singular value of the block's last 2×2 corner, or zero where a shift would do harm or nothing. */
function chooseShift({ d, e, size, at, step, coupling }: Block, smallest: number, n: number): number {
  let largest = 0
  for (let i = 0; i < size; i++) largest = Math.max(largest, Math.abs(d[at + i * step]!))
  for (let i = 0; i < size - 1; i++) largest = Math.max(largest, Math.abs(e[coupling + i * step]!))
  if (n * TOLERANCE * (smallest / largest) <= Math.max(Number.EPSILON, TOLERANCE / 100)) return 0
  const end = at + (size - 1) * step
  const shift = smallerSingularValue(d[end - step]!, e[coupling + (size - 2) * step]!, d[end]!)
  const ratio = shift / Math.abs(d[at]!)
  return ratio * ratio < Number.EPSILON ? 0 : shift
}

/** The smaller singular value of [[f, g], [0, h]], to full relative accuracy: |f·h| / σ₁ without the product. */
function smallerSingularValue(f: number, g: number, h: number): number {
  const small = Math.min(Math.abs(f), Math.abs(h)), large = Math.max(Math.abs(f), Math.abs(h)), side = Math.abs(g)
  if (small === 0) return 0
  const sum = 1 + small / large, difference = (large - small) / large
  // σ₁ = (√((f+h)² + g²) + √((f−h)² + g²)) / 2, here in units of the larger of `large` and `side`.
  if (side <= large) {
    const g2 = (side / large) ** 2
    return (2 * small) / (Math.sqrt(sum * sum + g2) + Math.sqrt(difference * difference + g2))
  }
  const q = large / side
  return (2 * small * q) / (Math.sqrt((sum * q) ** 2 + 1) + Math.sqrt((difference * q) ** 2 + 1))
}

/** One QR sweep with a shift, from the top of the block to its end (Golub & Van Loan, algorithm 8.6.1). */
function sweepShifted({ d, e, size, at, step, coupling, left, right }: Block, shift: number): void {
  const rot: Rotation = { c: 1, s: 0, r: 0 }
  const top = d[at]!
  let x = (Math.abs(top) - shift) * ((top < 0 ? -1 : 1) + shift / top), y = e[coupling]!
  left?.begin(at, step, size - 1)
  right?.begin(at, step, size - 1)
  for (let i = 0, p = at, q = coupling; i < size - 1; i++, p += step, q += step) {
    rotation(x, y, rot)
    if (i > 0) e[q - step] = rot.r
    x = rot.c * d[p]! + rot.s * e[q]!
    e[q] = rot.c * e[q]! - rot.s * d[p]!
    y = rot.s * d[p + step]!
    d[p + step]! *= rot.c
    right?.push(rot.c, rot.s)
    rotation(x, y, rot)
    d[p] = rot.r
    x = rot.c * e[q]! + rot.s * d[p + step]!
    d[p + step] = rot.c * d[p + step]! - rot.s * e[q]!
    if (i < size - 2) {
      y = rot.s * e[q + step]!
      e[q + step]! *= rot.c
    }
    left?.push(rot.c, rot.s)
  }
  e[coupling + (size - 2) * step] = x
}

/** One QR sweep without shift, which keeps every singular value to high relative accuracy (Demmel & Kahan, §3). */
function sweepUnshifted({ d, e, size, at, step, coupling, left, right }: Block): void {
  const inner: Rotation = { c: 1, s: 0, r: 0 }, outer: Rotation = { c: 1, s: 0, r: 0 }
  left?.begin(at, step, size - 1)
  right?.begin(at, step, size - 1)
  for (let i = 0, p = at, q = coupling; i < size - 1; i++, p += step, q += step) {
    rotation(d[p]! * inner.c, e[q]!, inner)
    if (i > 0) e[q - step] = outer.s * inner.r
    rotation(outer.c * inner.r, d[p + step]! * inner.s, outer)
    d[p] = outer.r
    right?.push(inner.c, inner.s)
    left?.push(outer.c, outer.s)
  }
  const end = at + (size - 1) * step, h = d[end]! * inner.c
  d[end] = h * outer.c
  e[coupling + (size - 2) * step] = h * outer.s
}
