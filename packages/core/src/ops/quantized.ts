import { fail, showShape } from "../errors.ts"
import { decodeParts, partReader, type Encoded } from "../format.ts"
import { freshExprs, index, int, load, mul as times } from "../expr.ts"
import { apply, checkTensor, type Op, type Tensor, type TemplateLoad } from "../tensor.ts"
import { along } from "./along.ts"
import { full } from "./create.ts"
import { abs, add, castTo, clamp, div, eq, mul, round, sub, where } from "./elementwise.ts"
import { matmul } from "./matmul.ts"
import { expand, place, reshape, slice, transpose, unsqueeze } from "./movement.ts"
import { rowNormOf, rowNorms } from "./norm.ts"
import { amax } from "./reduce.ts"

/** Neighbours of an activation row that share an int8 scale. */
export const activationGroup = 32

/** A grid for activations that is given: x̂ = (clamp(round(x/scale) + zero, low, 127) − zero)·scale, halves to even. */
export interface ActivationGrid {
  /** One for all (a number, or a tensor of one element), or one for each row [rows]. Where it is 0, x̂ is 0. */
  readonly scale: number | Tensor
  /** A whole number −128 … 127; 0 unless given. Codes go from −127 on without it, from −128 with it. */
  readonly zero?: number
}

/** x [rows, columns], its scales [rows] and which codes are reached. */
function onGrid(x: Tensor, scale: Tensor, zero: number): { readonly value: Tensor; readonly inside: Tensor } {
  const s = expand(unsqueeze(scale, 1), x.shape), free = add(where(eq(s, 0), 0, round(div(x, s))), zero), held = clamp(free, zero === 0 ? -127 : -128, 127)
  // Adding 0 makes zeros positive, as codes are.
  return { value: mul(add(sub(held, zero), 0), s), inside: eq(free, held) }
}
function scaleOfRows(op: string, { scale, zero = 0 }: ActivationGrid, rows: number): Tensor {
  if (!(Number.isInteger(zero) && zero >= -128 && zero <= 127)) fail("value", op, `zero must be a whole number −128 … 127, got ${zero}`)
  if (typeof scale === "number") {
    if (!(scale >= 0 && scale < Infinity)) fail("value", op, `the scale must be finite and ≥ 0, got ${scale}`)
    return full([rows], scale, "f32")
  }
  checkTensor(op, scale)
  if (scale.size !== 1 && scale.size !== rows) fail("shape", op, `${showShape(scale.shape)} scales for ${rows} rows`, "one for all, or one for each")
  return expand(castTo(reshape(scale, [scale.size]), "f32"), [rows])
}

/** Scale of each row of x [..., columns] that its largest magnitude just fits: amax/127, [rows]. */
export function activationScales(x: Tensor): Tensor {
  const columns = x.shape.at(-1) ?? fail("shape", "activationScales", "needs rows, got a single number")
  return div(amax(abs(reshape(castTo(x, "f32"), [x.size / Math.max(1, columns), columns])), { axis: -1 }), 127)
}

/**
 * Rounds rows to int8 and back: what the integer kernels see of their activations. On a grid that is given, or else with one
 * scale per 32 neighbours: q = round(x · 127/amax), x̂ = q · amax/127, round half to even.
 */
export function roundActivations(x: Tensor, grid?: ActivationGrid): Tensor {
  const columns = x.shape.at(-1)!
  const rows = x.size / Math.max(1, columns)
  const flat = reshape(x, [rows, columns])
  if (grid !== undefined) return reshape(onGrid(castTo(flat, "f32"), scaleOfRows("roundActivations", grid, rows), grid.zero ?? 0).value, x.shape)
  const groups = Math.ceil(columns / activationGroup)
  const padded = place(flat, [rows, groups * activationGroup], [0, 0], [1, 1])
  const grouped = reshape(padded, [rows, groups, activationGroup])
  const largest = amax(abs(grouped), { axis: -1, keepDims: true })
  const codes = round(mul(grouped, where(eq(largest, 0), 0, div(127, largest))))
  const back = reshape(mul(codes, div(largest, 127)), [rows, groups * activationGroup])
  return reshape(slice(back, [], [0, columns]), x.shape)
}

/** Which elements of x [..., columns] a grid's codes reach (bool). */
export function reachedBy(x: Tensor, grid: ActivationGrid): Tensor {
  const columns = x.shape.at(-1)!, rows = x.size / Math.max(1, columns)
  return reshape(onGrid(castTo(reshape(x, [rows, columns]), "f32"), scaleOfRows("reachedBy", grid, rows), grid.zero ?? 0).inside, x.shape)
}

interface Bounds { readonly low: number; readonly high: number }
/** By the matrix, and the types of its parts: a graph asks for each of its products. */
const bounds = new WeakMap<Encoded, Map<string, Bounds>>()
/** Bounds of a format's codes, as its expression states them. */
function codeBounds(encoded: Encoded, parts: readonly Tensor[]): Bounds {
  const types = parts.map((p) => p.dtype).join(" ")
  let known = bounds.get(encoded)
  if (known === undefined) bounds.set(encoded, (known = new Map()))
  let found = known.get(types)
  if (found === undefined) {
    const { format, names, shape: [n, k] } = encoded
    found = freshExprs(() => {
      const read = partReader(names, 0, (source, [at]) => load(source, parts[source]!.dtype, at!))
      const { low, high } = format.code(read, index(0, n), index(1, k))
      return { low, high }
    })
    known.set(types, found)
  }
  return found
}

type Sources = readonly Tensor[]
/** How codes, scales … of W are addressed, whose parts begin at source `first`. */
function loadsOfWeight({ format, shape: [n, k], names }: Encoded, parts: Sources, first: number): Record<string, TemplateLoad> {
  const all = parts.map((_, i) => i + first), group = Math.min(format.group, k), groups = Math.ceil(k / group)
  const perGroup = (piece: NonNullable<Encoded["format"]["min"]>): TemplateLoad => ({ sources: all, shape: [n, groups], at: (read, [row, g]) => piece(partReader(names, first, read), row!, times(g!, int(group))) })
  return {
    code: { sources: all, shape: [n, k], at: (read, [row, column]) => format.code(partReader(names, first, read), row!, column!) },
    scale: perGroup((part, row, column) => format.scale(part, row, column)),
    ...(format.zero ? { zero: perGroup((part, row, column) => format.zero!(part, row, column)) } : {}),
    ...(format.min ? { min: perGroup((part, row, column) => format.min!(part, row, column)) } : {}),
  }
}
const dimsOf = (x: Tensor, encoded: Encoded, parts: Sources): Record<string, number> => {
  const { format: { group }, shape: [n, k] } = encoded
  return { m: x.shape[0]!, n, k, group: Math.min(group, k), ...codeBounds(encoded, parts) }
}

/**
 * x̂ · Wᵀ with x̂ the int8 rounding of x [m, k] and W [n, k] stored in a format. Devices may compute it on integers:
 * Σ over groups of scale · activation scale · Σ code · q.
 */
const quantizedOp: Op<Encoded> = {
  name: "quantizedMatmul",
  meaning: {
    expand: ([x, ...parts], encoded) => matmul(roundActivations(x!), transpose(decodeParts(encoded, parts))),
  },
  result: ([x], { shape }) => ({ shape: [x!.shape[0]!, shape[0]], dtype: "f32" }),
  // Straight through the rounding of x.
  vjp: (dy, _out, [x, ...parts], encoded) => [castTo(matmul(dy, decodeParts(encoded, parts)), x!.dtype), ...parts.map(() => null)],
  batched: along(0, 0),
  template: {
    dims: ({ sources: [x, ...parts] }, encoded) => dimsOf(x!, encoded, parts),
    loads: ({ sources: [x, ...parts] }, encoded) => ({ x: { source: 0, shape: x!.shape, coords: (i) => [...i] }, ...loadsOfWeight(encoded, parts, 1) }),
    paired: () => 1,
    wider: ({ sources: [x, ...parts] }, encoded) => {
      const norm = rowNormOf(x!), op = norm && normedOps.get(norm.op)
      return op && apply(op, [...norm.sources, ...parts], { encoded, norm: norm.attrs, vectors: norm.sources.length - 1 })
    },
  },
}

/** A product of normalized rows: the attributes of the normalization, and how many vectors it has. */
interface Normed { readonly encoded: Encoded; readonly norm: unknown; readonly vectors: number }
/**
 * The same of rows that are normalized first, by each of the ops that do that: sources [x, vectors …, parts …]. Nobody calls it; graphs
 * are scheduled as it on devices that have a kernel for both, which saves a start, and memory between.
 */
const normedOps: ReadonlyMap<unknown, Op<Normed>> = new Map(rowNorms.map((norm): [unknown, Op<Normed>] => [norm, {
  name: `${norm.name}QuantizedMatmul`,
  meaning: {
    expand: (src, { encoded, norm: attrs, vectors }) => apply(quantizedOp, [apply(norm as Op, src.slice(0, 1 + vectors), attrs), ...src.slice(1 + vectors)], encoded),
  },
  result: ([x], { encoded: { shape } }) => ({ shape: [x!.shape[0]!, shape[0]], dtype: "f32" }),
  template: {
    dims: (node, { encoded, norm: attrs, vectors }) => ({ ...dimsOf(node.sources[0]!, encoded, node.sources.slice(1 + vectors)), eps: (attrs as { eps: number }).eps }),
    loads: (node, { encoded, norm: attrs, vectors }) => ({ ...norm.template!.loads(node.sources[0]!, attrs as never), ...loadsOfWeight(encoded, node.sources.slice(1 + vectors), 1 + vectors) }),
    paired: ({ vectors }) => 1 + vectors,
  },
}]))

/** The same with x̂ on a grid: sources [x, scales [m], ...parts]. */
const griddedOp: Op<Encoded & { readonly zeroPoint: number }> = {
  name: "griddedMatmul",
  meaning: {
    expand: ([x, scale, ...parts], encoded) => matmul(onGrid(x!, scale!, encoded.zeroPoint).value, transpose(decodeParts(encoded, parts))),
  },
  result: quantizedOp.result,
  // Straight through the rounding of x, as far as codes reach.
  vjp: (dy, _out, [x, scale, ...parts], encoded) => [where(onGrid(x!, scale!, encoded.zeroPoint).inside, matmul(dy, decodeParts(encoded, parts)), 0), null, ...parts.map(() => null)],
  batched: along(0, 0, 1),
  template: {
    dims: ({ sources: [x, , ...parts] }, encoded) => ({ ...dimsOf(x!, encoded, parts), zeroPoint: encoded.zeroPoint }),
    loads: ({ sources: [x, scale, ...parts] }, encoded) => ({
      x: { source: 0, shape: x!.shape, coords: (i) => [...i] }, step: { source: 1, shape: scale!.shape, coords: (i) => [...i] }, ...loadsOfWeight(encoded, parts, 2),
    }),
  },
}

/** x [..., k] times the transpose of a stored weight [n, k], with x rounded to int8, on a grid or in groups: {@link roundActivations}. */
export function quantizedMatmul(x: Tensor, parts: readonly Tensor[], encoded: Encoded, grid?: ActivationGrid): Tensor {
  const [n, k] = encoded.shape
  if (x.shape.at(-1) !== k) fail("shape", "quantizedMatmul", `inner sizes differ, ${showShape(x.shape)} × [${n}, ${k}]ᵀ`)
  const rows = x.size / Math.max(1, k), flat = castTo(reshape(x, [rows, k]), "f32")
  const y = grid === undefined ? apply(quantizedOp, [flat, ...parts], encoded)
    : apply(griddedOp, [flat, scaleOfRows("quantizedMatmul", grid, rows), ...parts], { ...encoded, zeroPoint: grid.zero ?? 0 })
  return reshape(y, [...x.shape.slice(0, -1), n])
}
