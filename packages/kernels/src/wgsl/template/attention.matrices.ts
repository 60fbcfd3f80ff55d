// Attention of many queries on matrices of subgroups: which tiles workgroups take. `attention.walk` has the kernel, and
// `attention.planes` what it multiplies.
import { rowsOf, type AttentionSizes } from "./attention.few.ts"
import { attentionMany } from "./attention.many.ts"
import { attentionPlanes, type PlaneCounts } from "./attention.planes.ts"
import { walk, type Plan } from "./attention.walk.ts"
import { lanes, matricesOf, strideOf } from "./matrices.ts"
import type { Features, Holes, Template } from "./holes.ts"

/** A workgroup takes so many rows and, at a time, keys. */
interface Tile { readonly rows: number; readonly keys: number; readonly threads: number }
/** The first that fits and leaves enough workgroups is taken. */
const tiles: readonly Tile[] = [
  { rows: 64, keys: 64, threads: 128 },
  { rows: 64, keys: 32, threads: 128 },
  { rows: 32, keys: 64, threads: 128 },
  { rows: 32, keys: 32, threads: 128 },
  { rows: 16, keys: 32, threads: 64 },
]
/** Workgroups from which a large adapter is busy. */
const many = 192
/** Scores of a tile where queries are stored as halves: there is least to multiply, and more workgroups beside each other gain more than larger tiles. */
const mostScores = 32 * 32
/** Registers of a thread that may hold sums: half of those it has where several workgroups run beside each other. */
const mostSums = 64

export const attentionMatrices: Template = {
  accepts(dims, features) {
    const sizes = dims as unknown as AttentionSizes
    return attentionMany.accepts!(dims, features) && planOf(sizes, features, { q: 1, k: 1, v: 1 }) !== undefined
  },
  passes(holes: Holes) {
    const { dims, operands, features } = holes, sizes = dims as unknown as AttentionSizes
    const planes = attentionPlanes(sizes, operands), plan = planOf(sizes, features, planes.counts)
    // What is not stored as f16 needs more memory than there may be.
    if (plan === undefined || !planes.fits(features)) return attentionMany.passes(holes)
    return [
      ...planes.passes(features),
      { units: plan.units, threads: [plan.threads], write: (pass) => walk(pass, { sizes, features, planes, plan, has: (name) => operands[name] !== undefined }) },
    ]
  },
}

const upTo = (n: number, multiple: number): number => Math.ceil(n / multiple) * multiple

/** How the first tile that fits is shared out, if the adapter has matrices and memory for one. */
export function planOf(sizes: AttentionSizes, features: Features, planes: PlaneCounts): Plan | undefined {
  const kind = matricesOf(features)
  if (kind === undefined || kind.k % lanes !== 0 || kind.n % lanes !== 0 || kind.typed === true) return undefined
  const plans = tiles.flatMap(({ rows, keys, threads }): Plan[] => {
    const subgroups = threads / kind.subgroup, perRow = threads / rows
    if (planes.q === 1 && rows * keys > mostScores) return []
    if (threads > features.threads || subgroups < 1 || !Number.isInteger(subgroups) || perRow > kind.subgroup) return []
    const down = 2 ** Math.floor(Math.log2(subgroups) / 2), across = subgroups / down
    const keyLength = upTo(sizes.d, kind.k), valueLength = upTo(sizes.dv, kind.n * across)
    if (rows % (down * kind.m) !== 0 || keys % (across * kind.n) !== 0 || keys % kind.k !== 0 || (rows * valueLength) / threads > mostSums) return []
    // Through the one memory and the other go matrices, one of each subgroup at a time, too.
    const one = (subgroups * kind.m * kind.n) / 4, keyStride = strideOf(keyLength), valueStride = strideOf(valueLength), scoreStride = keys / 4 + 1
    const staged = Math.max(keys * Math.max(keyStride, valueStride), one), scores = Math.max(rows * scoreStride, one)
    const bytes = 16 * (planes.q * rows * keyStride + Math.max(planes.k, planes.v) * staged + scores) + 4 * (rows + 1)
    if (bytes > features.sharedBytes) return []
    const units = sizes.batch * sizes.kvHeads * Math.ceil(rowsOf(sizes) / rows)
    return [{ rows, keys, threads, kind, down, across, keyVectors: keyLength / lanes, valueVectors: valueLength / lanes, keyStride, valueStride, scoreStride, staged, scores, bytes, units }]
  })
  return plans.find((plan) => plan.units >= many) ?? plans.at(-1)
}
