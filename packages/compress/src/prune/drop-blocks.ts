import { fail } from "@thimble/core"
import { architectureOf, blockShapes, configOfBlocks, keepBlocks, type Model, type Stores } from "@thimble/models"
import { reshaped } from "../recipe/outline.ts"
import type { JobEvent, Outline, OutlinedMatrix, PlannedStage, RunContext, Stage } from "../recipe/stage.ts"
import { angularDistances, blockInfluence } from "./block-scores.ts"

export interface DropBlocksOptions {
  /** These blocks go, by their numbers; no data is needed. */
  readonly layers?: readonly number[]
  /** Or so many, those that calibration data shows to be worth least. */
  readonly count?: number
  /**
   * By what: `influence`, each block by itself (see {@link blockInfluence}), unless given; or `angle`, blocks in a row over
   * which the stream turns least (see {@link angularDistances}).
   */
  readonly score?: "influence" | "angle"
}

/** A stage that leaves out whole blocks. */
export function dropBlocks({ layers, count, score = "influence" }: DropBlocksOptions): Stage & Stores<"kept"> {
  if ((layers === undefined) === (count === undefined)) fail("value", "dropBlocks", "needs either layers or a count", "dropBlocks({ count: 2 })")
  if (score !== "influence" && score !== "angle") fail("value", "dropBlocks", `score must be influence or angle, got ${String(score)}`)
  return {
    kind: "dropBlocks",
    toJSON: () => ({ stage: "dropBlocks", ...(layers && { layers }), ...(count !== undefined && { count, score }) }),
    plan: (outline) => planDrop(outline, layers, count, score),
  }
}

function planDrop(outline: Outline, given: readonly number[] | undefined, count: number | undefined, score: "influence" | "angle"): PlannedStage {
  const { config } = outline, all = [...Array(config.layers).keys()], gone = new Set(given), number = count ?? gone.size
  if (!(Number.isInteger(number) && number >= 1 && number < config.layers)) fail("value", "plan", `${number} of ${config.layers} blocks cannot go`)
  if (given !== undefined && (gone.size !== given.length || given.some((l) => !all.includes(l)))) fail("value", "plan", `[${given.join(", ")}] are not numbers of blocks from 0 to ${config.layers - 1}, each once`)
  if (count !== undefined && !alike(outline)) fail("value", "plan", "the blocks are of several shapes, or stored in several ways: what is left depends on which go", "say which: dropBlocks({ layers: … })")
  // Where the data decides, all are alike: any will do to tell what is left.
  const left = given === undefined ? all.slice(0, config.layers - number) : all.filter((l) => !gone.has(l)), after = configOfBlocks(config, left)
  return {
    kind: "dropBlocks", entries: [], after: reshaped(outline, after, matricesOf(outline, left)), lazily: true,
    ...(count !== undefined && { needs: `${score === "angle" ? "the angle" : "influence"} of blocks is measured` }),
    run: (model, context) => runDrop(model, left, count, score, context),
  }
}

const prefixOf = ({ config }: Outline, layer: number): string => `${architectureOf(config).blocks}.${layer}.`

/** Whether all blocks have the same matrices. */
function alike(outline: Outline): boolean {
  const of = (layer: number): string => JSON.stringify([...outline.matrices].filter(([, m]) => m.layer === layer).map(([path, { layer: _, ...m }]) => [path.slice(prefixOf(outline, layer).length), m]))
  const [first, ...others] = blockShapes(outline.config).map((_, layer) => of(layer))
  return others.every((o) => o === first)
}

function matricesOf(outline: Outline, left: readonly number[]): Map<string, OutlinedMatrix> {
  const out = new Map([...outline.matrices].filter(([, m]) => m.layer === undefined))
  left.forEach((from, to) => {
    for (const [path, m] of outline.matrices) if (m.layer === from) out.set(prefixOf(outline, to) + path.slice(prefixOf(outline, from).length), { ...m, layer: to })
  })
  return out
}

async function* runDrop(start: Model, planned: readonly number[], count: number | undefined, score: "influence" | "angle", { data, signal }: RunContext): AsyncGenerator<JobEvent, Model> {
  // Blocks that are named may stay in their file.
  const model = count === undefined ? start : await start.loaded(), { layers } = model.config, all = [...Array(layers).keys()]
  let left = planned, why = "named"
  if (count !== undefined) {
    if (score === "angle") {
      const turned = await angularDistances(model, data!, count, signal), first = turned.indexOf(Math.min(...turned))
      left = all.filter((l) => l < first || l >= first + count)
      why = `the stream turns by ${turned[first]!.toPrecision(3)} half turns`
    } else {
      const influence = await blockInfluence(model, data!, signal), gone = new Set([...all].sort((a, b) => influence[a]! - influence[b]! || b - a).slice(0, count))
      left = all.filter((l) => !gone.has(l))
      why = `influences ${[...gone].sort((a, b) => a - b).map((l) => influence[l]!.toPrecision(3)).join(", ")}`
    }
    yield { kind: "calibrated", stage: 0, part: "blocks", done: data!.sequences.length, total: data!.sequences.length }
  }
  const gone = all.filter((l) => !left.includes(l)), blocks = model.blocks(), paths = gone.flatMap((l) => blocks[l]!.linears)
  for (const [i, path] of paths.entries()) {
    const { shape, bytes, storage, form } = model.weights[path]!, format = storage === undefined ? form : typeof storage === "string" ? storage : storage.name
    yield { kind: "matrix", stage: 0, done: i + 1, total: paths.length, resumed: false, entry: { path, shape, method: "drop block", from: format, to: "nothing", bytesBefore: bytes, bytesAfter: 0, why, weightError: 1, tokens: count === undefined ? 0 : data!.tokens, fallbacks: [], seconds: 0 } }
  }
  const small = keepBlocks(model, left), held = new Set([...Object.values(start.parts()), ...Object.values(small.parts())])
  for (const t of Object.values(model.parts())) if (!held.has(t)) t.dispose()
  return small
}
