import type { Case } from "./law.ts"

/** Whether a case still shows what it should. */
export type Shows = (c: Case) => boolean | Promise<boolean>

/** A case with these rows and columns of another. */
function part({ values, shape: [, columns], pick }: Case, rows: readonly number[], kept: readonly number[]): Case {
  const out = new Float32Array(rows.length * kept.length)
  rows.forEach((r, i) => kept.forEach((c, j) => (out[i * kept.length + j] = values[r * columns + c]!)))
  return { values: out, shape: [rows.length, kept.length], pick }
}
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

/** Cases with less in them, the boldest first. Columns go in multiples of `unit`. */
export function* smaller(c: Case, unit: number): Generator<Case> {
  const [rows, columns] = c.shape
  for (let cut = rows; cut >= 1; cut = Math.floor(cut / 2))
    for (let from = 0; from < rows; from += cut) yield part(c, upTo(rows).filter((r) => r < from || r >= from + cut), upTo(columns))
  for (let cut = columns - (columns % unit); cut >= unit; cut = Math.floor(cut / 2 / unit) * unit)
    for (let from = 0; from < columns; from += cut) yield part(c, upTo(rows), upTo(columns).filter((x) => x < from || x >= from + cut))
}

/** Cases of the same size with fewer elements that are not zero, or with plainer ones. */
export function* plainer(c: Case): Generator<Case> {
  const { values } = c, with_ = (change: (v: number, i: number) => number): Case => ({ ...c, values: values.map(change) })
  for (let cut = values.length; cut >= 1; cut = Math.floor(cut / 2))
    for (let from = 0; from < values.length; from += cut)
      if (values.subarray(from, from + cut).some((v) => v !== 0)) yield with_((v, i) => (i >= from && i < from + cut ? 0 : v))
  const together = compacted(c)
  if (together.some((v, i) => v !== values[i])) yield { ...c, values: together }
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!
    if (v === 0) continue
    const simpler = [Math.sign(v), Math.trunc(v), Math.round(v), Math.round(v * 2) / 2, Math.round(v * 8) / 8, Number(v.toPrecision(2)), Number(v.toPrecision(3)), -v]
    for (const s of simpler) if (plainness(Math.fround(s)) < plainness(v)) yield with_((old, j) => (j === i ? s : old))
  }
}
/** What is not zero moved to the front of its row. */
function compacted({ values, shape: [rows, columns] }: Case): Float32Array {
  const out = new Float32Array(values.length)
  for (let r = 0; r < rows; r++) out.set(values.subarray(r * columns, (r + 1) * columns).filter((v) => v !== 0), r * columns)
  return out
}
/** How much there is to a number: its digits, a sign, and whether it is whole. */
const plainness = (v: number): number => (v === 0 ? 0 : `${Math.abs(Number(Math.fround(v).toPrecision(8)))}`.length * 4 + Number(v < 0) * 2 + Number(!Number.isInteger(v)))

/** The smallest of a kind that still shows it: candidates are tried in turn, from the front again after each that does, until none is left. */
export async function least<C>(start: C, shows: (c: C) => boolean | Promise<boolean>, candidates: readonly ((c: C) => Iterable<C>)[], tries = 4000): Promise<C> {
  let best = start, left = tries
  const improve = async (of: (c: C) => Iterable<C>): Promise<boolean> => {
    for (const c of of(best)) {
      if (left-- <= 0) return false
      if (!(await shows(c))) continue
      best = c
      return true
    }
    return false
  }
  for (let at = 0; at < candidates.length;) at = (await improve(candidates[at]!)) ? 0 : at + 1
  return best
}

/**
 * The smallest case that still shows it, found by leaving out rows, columns and elements and by plainer numbers, until
 * nothing more can go.
 */
export async function minimize(start: Case, shows: Shows, unit = 1, tries = 4000): Promise<Case> {
  let first = start
  for (const pick of [0, 1, 2, 3, 4, 5]) if (pick < start.pick && (await shows({ ...start, pick }))) { first = { ...start, pick }; break }
  return least(first, shows, [(c) => smaller(c, unit), plainer], tries)
}
