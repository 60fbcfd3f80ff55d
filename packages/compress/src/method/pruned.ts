import { fail } from "@thimble/core"
import type { Json } from "@thimble/models"
import type { SparsityPattern } from "../prune/pattern.ts"
import type { Score } from "../prune/score.ts"
import type { ShareSpread, Spreadable } from "../prune/spread.ts"
import { stored, storeName, storeTarget, type Store } from "../prune/store.ts"
import { tileScores } from "../prune/tiles.ts"
import { gradientsOf, type Gradients } from "../recipe/gradients.ts"
import type { Matrix, Method } from "../recipe/method.ts"
import { visitMatrices, type Surveyed } from "../recipe/survey.ts"

export interface PrunedOptions {
  /** What weights are ranked by. */
  readonly score: Score
  /** Which weights may go, and how many do. */
  readonly pattern: SparsityPattern
  /** What the matrix is stored in; f32, with its zeros, unless given. */
  readonly store?: Store
  /** How the share is divided among matrices; each loses the same unless given. */
  readonly spread?: ShareSpread
}

/** What was found of all matrices, before any was changed. */
interface Found { readonly gradients?: ReadonlyMap<string, Gradients>; readonly shares?: ReadonlyMap<string, number> }

/** Weights with the least scores become zero; the others stay as they are. Any score goes with any pattern. */
export const pruned = (options: PrunedOptions): Method => made(options)

function made(options: PrunedOptions, found?: Found): Method {
  const { score, pattern, store = "f32", spread } = options
  if (spread !== undefined && pattern.with === undefined) fail("value", "pruned", `${pattern.name} keeps as many of all matrices: there is no share to divide by ${spread.name}`)
  const observes = score.observes ?? [], surveyed = found === undefined && (score.gradients !== undefined || spread !== undefined)
  const asksData = score.gradients !== undefined || (spread !== undefined && observes.length + (spread.observes?.length ?? 0) > 0)
  return {
    name: `pruned ${pattern.name} by ${score.name}${spread === undefined ? "" : `, ${spread.name}`}`,
    toJSON: (): Json => ({ method: "pruned", score: score.toJSON(), pattern: pattern.toJSON(), store: storeName(store), ...(spread && { spread: spread.toJSON() }) }),
    ...(observes.length > 0 && { observes }),
    ...(surveyed && { survey: { data: asksData, look: async (s: Surveyed) => made(options, await look(options, s)) } }),
    target: (shape) => (pattern.unfit?.(shape) === undefined ? storeTarget(store, pattern, shape) : { unfit: pattern.unfit(shape)! }),
    async round(matrix, statistics) {
      if (surveyed) fail("value", "pruned", `${score.name}${spread ? ` by ${spread.name}` : ""} has to look at the whole model first`, "run it in a stage: prune({ default: … })")
      const own = found?.shares?.get(matrix.path), scores = await scoresOf(score, matrix, statistics, found), kept = (own === undefined ? pattern : pattern.with!(own)).kept(scores, matrix.shape)
      const values = matrix.values.map((w, i) => (kept[i] === 1 ? w : 0))
      return { stored: stored(store, values, matrix.shape), zeros: values.reduce((n, w) => n + Number(w === 0), 0) / Math.max(1, values.length) }
    },
  }
}

async function scoresOf(score: Score, matrix: Matrix, statistics: Parameters<Score["of"]>[1], found: Found | undefined): Promise<Float64Array> {
  const scores = await score.of(matrix, statistics, found?.gradients?.get(matrix.path)), wrong = scores.findIndex(Number.isNaN)
  return wrong < 0 ? scores : fail("numeric", "pruned", `${score.name} of ${matrix.path} gives no number for row ${Math.floor(wrong / matrix.shape[1])}, column ${wrong % matrix.shape[1]}`, "look at the weights, and at the calibration data")
}

async function look({ score, pattern, spread }: PrunedOptions, surveyed: Surveyed): Promise<Found> {
  const gradients = score.gradients === undefined ? undefined : await gradientsOf(surveyed.model, surveyed.data!, surveyed.paths, surveyed.signal)
  if (spread === undefined) return { ...(gradients && { gradients }) }
  const all: Spreadable[] = [], observes = [...new Map([...(score.observes ?? []), ...(spread.observes ?? [])].map((s) => [s.name, s])).values()]
  await visitMatrices(surveyed, observes, async (matrix, layer, statistics) => {
    const scores = await scoresOf(score, matrix, statistics, { ...(gradients && { gradients }) }), { path, shape } = matrix
    all.push({ path, shape, ...(layer !== undefined && { layer }), measured: await spread.measure(matrix, tileScores(scores, shape, pattern.block!(shape)), statistics) })
  })
  const shares = spread.shares(all, pattern.share!)
  return { ...(gradients && { gradients }), shares: new Map(all.map(({ path }, i) => [path, shares[i]!])) }
}
