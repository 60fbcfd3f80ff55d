// Sizes of the tiles that a workgroup of the product computes, and how work is shared out within one.

/** A workgroup computes `rows` × `columns` results, a thread `down` × `across` of them, through `depth` terms at a time. */
export interface Tile { readonly rows: number; readonly columns: number; readonly depth: number; readonly down: number; readonly across: number }

/** Largest first; what a thread reads of the workgroup's memory is used `across`, or `down`, times. */
const tiles: readonly Tile[] = [
  { rows: 128, columns: 128, depth: 16, down: 8, across: 8 },
  { rows: 64, columns: 64, depth: 16, down: 4, across: 4 },
  { rows: 32, columns: 32, depth: 16, down: 4, across: 2 * 2 },
]
/** Workgroups from which a large adapter is busy. */
const many = 192

export const threadsOf = ({ rows, columns, down, across }: Tile): number => (rows / down) * (columns / across)
export const sharedOf = ({ rows, columns, depth }: Tile): number => 4 * depth * (rows + columns)

/** The largest tile that leaves enough workgroups, of those that fit an adapter. */
export function tileFor(batch: number, m: number, n: number, { sharedBytes, threads }: { readonly sharedBytes: number; readonly threads: number }): Tile {
  const fitting = tiles.filter((t) => sharedOf(t) <= sharedBytes && threadsOf(t) <= threads)
  const groups = (t: Tile): number => batch * Math.ceil(m / t.rows) * Math.ceil(n / t.columns)
  // A tile twice as wide as the matrix computes mostly nothing.
  const sensible = fitting.filter((t) => t.rows < 2 * m && t.columns < 2 * n)
  return sensible.find((t) => groups(t) >= many) ?? sensible.at(-1) ?? fitting.at(-1)!
}

/** Terms from which another workgroup for the rest of them pays. */
const leastTerms = 256

/** How a product is shared out: tiles, and parts of the sum, `terms` each, that workgroups of their own compute. */
export interface Shares { readonly tile: Tile; readonly parts: number; readonly terms: number }

/** Where tiles are few and sums long, as in gradients of weights, the sums are cut: more workgroups than with smaller tiles, which read operands more often. */
export function sharesFor(sizes: { readonly batch: number; readonly m: number; readonly k: number; readonly n: number }, features: { readonly sharedBytes: number; readonly threads: number }): Shares {
  const { batch, m, n, k } = sizes, whole = tileFor(batch, m, n, features), smallest = tiles.at(-1)!
  const units = (t: Tile): number => batch * Math.ceil(m / t.rows) * Math.ceil(n / t.columns)
  const enough = units(whole) >= many, one = { tile: whole, parts: 1, terms: k }
  if (k < 2 * leastTerms || (enough && whole !== smallest)) return one
  const middle = tiles.at(-2)!, fits = sharedOf(middle) <= features.sharedBytes && threadsOf(middle) <= features.threads
  const tile = fits && middle.rows < 2 * m && middle.columns < 2 * n ? middle : whole
  const wanted = Math.min(Math.ceil(many / units(tile)), Math.floor(k / leastTerms))
  if (wanted < 2 || (enough && wanted * units(tile) < many)) return one
  const terms = Math.ceil(k / wanted / tile.depth) * tile.depth
  return { tile, parts: Math.ceil(k / terms), terms }
}

/** How an operand's tile comes into workgroup memory: read into registers at `start`, and put down from them. */
export interface Staged { readonly load: string; readonly store: string }

/** Goes along the terms of a product up to `last`, `depth` at a time: while tiles are multiplied the next ones are on their way. */
export function alongTerms({ first = "0", last, depth, operands, multiply }: { readonly first?: string; readonly last: string | number; readonly depth: number; readonly operands: readonly Staged[]; readonly multiply: string }): string {
  const load = operands.map((o) => o.load).join("\n"), store = operands.map((o) => o.store).join("\n")
  return `var start = ${first};
${load}
for (; start < ${last}; ) {
${store}
workgroupBarrier();
start += ${depth};
if (start < ${last}) {
${load}
}
${multiply}
workgroupBarrier();
}`
}
