/** |got − want| ≤ max(relative·|want|, absolute). */
export interface Tolerance { readonly relative: number; readonly absolute: number }

/** The first few elements that differ, in words; undefined when none does. NaN equals NaN, the sign of zero is free, infinities must agree. */
export function differences(got: ArrayLike<number>, want: ArrayLike<number>, { relative, absolute }: Tolerance): string | undefined {
  if (got.length !== want.length) return `${got.length} elements instead of ${want.length}`
  const at: number[] = []
  for (let i = 0; i < want.length; i++) {
    const g = got[i]!, w = want[i]!
    const same = g === w || (Number.isNaN(g) && Number.isNaN(w))
    const near = Number.isFinite(w) && Math.abs(g - w) <= Math.max(relative * Math.abs(w), absolute)
    if (!same && !near) at.push(i)
  }
  if (at.length === 0) return undefined
  return `${at.length} of ${want.length} differ: ${at.slice(0, 4).map((i) => `[${i}] ${got[i]} instead of ${want[i]}`).join(", ")}`
}
