import fc from "fast-check"
import type { Imatrix, ImatrixEntry } from "../src/index.ts"

const entry: fc.Arbitrary<ImatrixEntry> = fc.record({ matrices: fc.integer({ min: 1, max: 3 }), columns: fc.integer({ min: 1, max: 5 }), seed: fc.nat(), sums: fc.boolean() }).map(({ matrices, columns, seed, sums }) => {
  const value = (i: number): number => Math.fround(((seed % 1009) * (i + 1) * 7919) % 1013) / 8
  const squares = Float32Array.from({ length: matrices * columns }, (_, i) => value(i))
  // The first matrix has seen something.
  return { squares, counts: Array.from({ length: matrices }, (_, i) => (i === 0 ? 1 : 0) + ((seed >> i) % 3) * 700), ...(sums && { sums: squares.map((v, i) => (i % 2 ? -v : v)) }) }
})

/** Importance matrices of one entry or more. */
export const imatrices: fc.Arbitrary<Imatrix> = fc.record({
  entries: fc.array(fc.tuple(fc.constantFrom("blk.0.attn_q.weight", "blk.0.ffn_down.weight", "blk.10.attn_q.weight", "blk.2.attn_q.weight", "output.weight", "日"), entry), { minLength: 1, maxLength: 4 }).map((all) => new Map(all)),
  datasets: fc.array(fc.string({ unit: "grapheme", maxLength: 12 }), { maxLength: 2 }), chunks: fc.nat(1000), chunkSize: fc.integer({ min: 1, max: 4096 }),
})
