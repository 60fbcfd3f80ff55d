import { fail, showShape } from "../errors.ts"
import { decodeParts, partReader, type Encoded, type Listed, type Masked, type PartReader } from "../format.ts"
import type { Expr } from "../expr.ts"
import { apply, type Op, type Tensor, type TemplateLoad } from "../tensor.ts"
import { along } from "./along.ts"
import { castTo } from "./elementwise.ts"
import { matmul } from "./matmul.ts"
import { reshape, transpose } from "./movement.ts"

type Sources = readonly Tensor[]
/** What both kinds of products share: x [m, k] times the transpose of a stored W [n, k]. */
const product = {
  meaning: { expand: ([x, ...parts]: Sources, encoded: Encoded) => matmul(x!, transpose(decodeParts(encoded, parts))) },
  result: ([x]: Sources, { shape }: Encoded) => ({ shape: [x!.shape[0]!, shape[0]], dtype: "f32" as const }),
  vjp: (dy: Tensor, _out: Tensor, [, ...parts]: Sources, encoded: Encoded) => [matmul(dy, decodeParts(encoded, parts)), ...parts.map(() => null)],
  batched: along<Encoded>(0, 0),
}
/** Room for the places of any matrix of a size, so that all of them share a kernel, however many elements are stored. */
const places = ([n, k]: readonly [number, number], [r, c]: readonly [number, number]): number => Math.ceil(n / r) * r * Math.ceil(k / c) * c + 4

function loadsOf({ sources: [x, ...parts] }: Tensor, { names }: Encoded, pieces: Record<string, { shape: readonly number[]; at(part: PartReader, i: readonly Expr[]): Expr }>): Record<string, TemplateLoad> {
  const sources = parts.map((_, i) => i + 1)
  const own = Object.entries(pieces).map(([name, { shape, at }]): [string, TemplateLoad] => [name, { sources, shape, at: (read, i) => at(partReader(names, 1, read), i) }])
  return { x: { source: 0, shape: x!.shape, coords: (i) => [...i] }, ...Object.fromEntries(own) }
}

const listedOf = ({ format }: Encoded): Listed => format.sparse as Listed
/** x · Wᵀ for W stored as a list of blocks. Elements that are not stored add nothing, whatever they meet. */
const listedOp: Op<Encoded> = {
  name: "listedMatmul", ...product,
  template: {
    dims: ({ sources: [x] }, encoded) => ({ m: x!.shape[0]!, n: encoded.shape[0], k: encoded.shape[1], blockRows: listedOf(encoded).block[0], blockColumns: listedOf(encoded).block[1] }),
    loads: (node, encoded) => {
      const { block, begin, column, value } = listedOf(encoded), { shape } = encoded, room = places(shape, block)
      return loadsOf(node, encoded, {
        begin: { shape: [Math.ceil(shape[0] / block[0]) + 1], at: (part, [row]) => begin(part, row!) },
        column: { shape: [room], at: (part, [b]) => column(part, b!) },
        value: { shape: [shape[0], room], at: (part, [row, place]) => value(part, row!, place!) },
      })
    },
  },
}

const maskedOf = ({ format }: Encoded): Masked => format.sparse as Masked
/** x · Wᵀ for W stored as bits and values. */
const maskedOp: Op<Encoded> = {
  name: "maskedMatmul", ...product,
  template: {
    dims: ({ sources: [x] }, encoded) => ({ m: x!.shape[0]!, n: encoded.shape[0], k: encoded.shape[1], ofFour: maskedOf(encoded).ofFour ?? 0 }),
    loads: (node, encoded) => {
      const { begin, mask, value } = maskedOf(encoded), { shape: [n, k] } = encoded
      return loadsOf(node, encoded, {
        begin: { shape: [n, 1], at: (part, [row]) => begin(part, row!) },
        mask: { shape: [n, Math.ceil(k / 32)], at: (part, [row, word]) => mask(part, row!, word!) },
        value: { shape: [n, places([n, k], [1, 1])], at: (part, [row, place]) => value(part, row!, place!) },
      })
    },
  },
}

/** x [..., k] times the transpose of a weight [n, k] stored in a sparse format. */
export function sparseMatmul(x: Tensor, parts: readonly Tensor[], encoded: Encoded): Tensor {
  const { format: { sparse, name }, shape: [n, k] } = encoded
  if (sparse === undefined) return fail("value", "sparseMatmul", `${name} stores all elements`)
  if (x.shape.at(-1) !== k) fail("shape", "sparseMatmul", `inner sizes differ, ${showShape(x.shape)} × [${n}, ${k}]ᵀ`)
  const flat = castTo(reshape(x, [x.size / Math.max(1, k), k]), "f32")
  return reshape(apply("mask" in sparse ? maskedOp : listedOp, [flat, ...parts], encoded), [...x.shape.slice(0, -1), n])
}
