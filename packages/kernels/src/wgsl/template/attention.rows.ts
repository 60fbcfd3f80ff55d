// What forms of attention have in common that take a tile of rows (queries of the heads that share keys) along the keys.
import { bounds, rowsOf, type AttentionSizes } from "./attention.few.ts"
import type { PassHoles } from "./holes.ts"

/** Below every finite number: where a maximum begins. */
export const lowest = "-3.4028234663852886e38f"
/** The head of a row. */
export const headOf = ({ heads, kvHeads, tq }: AttentionSizes, r: string): string => `kvHead * ${heads / kvHeads} + (${r}) / ${tq}`

/** Declares `upper` and `lower`, between which all keys are that some of the `rows` from `row0` on see, and what {@link bounds} does. */
export function reach(pass: PassHoles, sizes: AttentionSizes, has: (operand: string) => boolean, rows: number): string {
  const { tq, tk, causal, window, qOffset } = sizes
  return `${bounds(pass, { tk, qOffset, has })}
let last = min(row0 + ${rows}, ${rowsOf(sizes)}) - 1;
let together = row0 / ${tq} == last / ${tq};
let upper = ${causal ? `min(filled, select(${tq}, last % ${tq} + 1, together) + offset)` : "filled"};
let lower = ${window > 0 ? `max(0, select(0, row0 % ${tq}, together) + offset - ${window} + 1)` : "0"};`
}

/** Of four keys from `key` on, `keys`: an expression of which ones `query` sees, and statements that add what the mask says of row `r` to `score`. */
export function masking(pass: PassHoles, sizes: AttentionSizes, has: (operand: string) => boolean): { readonly visible: string; readonly masked: string } {
  const { tk, causal, window } = sizes, mask = has("mask") ? pass.read("mask") : undefined
  return {
    visible: ["(keys < vec4<i32>(filled))", ...(causal ? ["(keys <= vec4<i32>(query + offset))"] : []), ...(window > 0 ? [`(keys > vec4<i32>(query + offset - ${window}))`] : [])].join(" & "),
    masked: mask === undefined ? "" : `if (r < ${rowsOf(sizes)}) { for (var e = 0; e < 4; e++) { if (key + e < ${tk}) { score[e] += ${mask}(batch, ${headOf(sizes, "r")}, query, key + e); } } }`,
  }
}
