import type { Quantizer } from "../quantizer.ts"
import { show } from "./bounds.ts"
import type { Breach, Case, Law } from "./law.ts"
import { differing } from "./law.ts"

/** A law that a quantizer breaks, and the smallest case that shows it. */
export interface Broken {
  readonly law: Law["name"]
  readonly statement: string
  readonly problem: string
  readonly case: Case
  /** What fast-check needs to find it again. */
  readonly seed: number
}

/** Columns of a row that are worth printing: those that are not zero, and the one in question. */
function shown({ values, shape: [, columns] }: Case, row: number, at: number | undefined): number[] {
  const all = Array.from({ length: columns }, (_, c) => c)
  const telling = all.filter((c) => values[row * columns + c] !== 0 || c === at)
  return (columns <= 8 ? all : telling).slice(0, 12)
}

const table = (rows: readonly (readonly string[])[]): string[] => {
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((r) => r[c]!.length)))
  return rows.map((r) => `  ${r.map((cell, c) => (c === 0 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!))).join("  ")}`)
}

/** A broken law as a person reads it: the statement, what is wrong, the values beside what they become. */
export function explain<E>(q: Quantizer<E>, { law, statement, problem, case: c, seed }: Broken, at: Breach["at"]): string {
  const { values, shape: [rows, columns], shape } = c
  const lines = [`${q.name} breaks the law '${law}': ${statement}`, `  ${problem}${at ? ` (row ${at.row}, column ${at.column})` : ""}`]
  let back: Float32Array | undefined, bounds: Float64Array | undefined
  try {
    const encoded = q.encode(values, shape)
    back = q.decode(encoded, shape)
    bounds = q.errorBound(encoded, shape, values)
  } catch {}
  for (let r = 0; r < Math.min(rows, 3); r++) {
    const kept = shown(c, r, at?.row === r ? at.column : undefined), of = (a: ArrayLike<number>): string[] => kept.map((k) => show(a[r * columns + k]!))
    lines.push(...table([
      [`column`, ...kept.map((k) => `${k}${at?.row === r && at.column === k ? "*" : ""}`)],
      ["x", ...of(values)],
      ...(back ? [["x̂", ...of(back)], ["|x − x̂|", ...of(values.map((v, i) => Math.abs(v - back[i]!)))]] : []),
      ...(bounds ? [["bound", ...of(bounds)]] : []),
    ]))
  }
  const whole = differing(values, new Float32Array(values.length), shape) === undefined ? "all zeros" : `[${Array.from(values.subarray(0, 16), show).join(", ")}${values.length > 16 ? ", …" : ""}]`
  lines.push(`  case: ${whole}, ${rows} × ${columns}, pick ${c.pick}; again with seed ${seed}`)
  return lines.join("\n")
}
