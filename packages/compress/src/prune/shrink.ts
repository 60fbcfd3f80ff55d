import { fail, showShape } from "@thimble/core"
import { blockShape, configOfChannels, expectedTensors, type Config, type KeptByLayer, type Stores } from "@thimble/models"
import { reshaped } from "../recipe/outline.ts"
import type { Outline, OutlinedMatrix, PlanEntry, PlannedStage, Stage } from "../recipe/stage.ts"
import { scoreObserves, type ChannelScore, type Combine } from "./channel-scores.ts"
import { runShrink } from "./run-shrink.ts"

/** How many go: a share of all, rounded down; or how many stay. */
export type Amount = number | { readonly keep: number }

/** What goes of a block. */
export interface ShrinkAmounts {
  /** Heads of keys and values, each with all heads of queries that share it; none unless given. */
  readonly heads?: Amount
  /** Features between the two halves of the feed-forward part; none unless given. */
  readonly channels?: Amount
}
/** Amounts of some blocks, by their numbers. */
export interface ShrinkRule extends ShrinkAmounts { readonly layers: readonly number[] }

export interface ShrinkOptions extends ShrinkAmounts {
  /** Other amounts for some blocks; the first rule that names a block holds. */
  readonly rules?: readonly ShrinkRule[]
  /** What channels are ranked by, within their block; `outputs` unless given. */
  readonly score?: ChannelScore
  /** How the scores of a channel's rows and columns are joined (`magnitude`, `wanda`); summed unless given. */
  readonly combine?: Combine
  /** What stays of the channels is a multiple of this, the nearest below or else the least, as storage formats want it; 1 unless given. */
  readonly multiple?: number
  /** Columns that stay make up for those that go, by least squares over the calibration inputs; not unless given. */
  readonly reconstruct?: boolean
}

/**
 * A stage that leaves out whole channels: heads, with all that share their keys and values, and hidden features of the
 * feed-forward part. What comes out is a smaller model of plain matrices. Blocks are treated one after the other, each as it
 * is fed by the blocks before it as they are by then; gradients (`taylor`, `fisher`) are of the model as it was.
 */
export function shrink(options: ShrinkOptions): Stage & Stores<"kept"> {
  const { rules = [], score = "outputs", combine = "sum", multiple = 1, reconstruct = false } = options
  if (!Object.hasOwn(scoreObserves, score)) fail("value", "shrink", `score must be ${Object.keys(scoreObserves).join(", ")}, got ${String(score)}`)
  if (combine !== "sum" && combine !== "max") fail("value", "shrink", `combine must be sum or max, got ${String(combine)}`)
  if (!(Number.isInteger(multiple) && multiple >= 1)) fail("value", "shrink", `multiple must be a whole number from 1, got ${multiple}`)
  for (const { heads, channels } of [options, ...rules]) for (const amount of [heads, channels]) if (amount !== undefined) checkAmount(amount)
  if ([options, ...rules].every((r) => r.heads === undefined && r.channels === undefined)) fail("value", "shrink", "nothing is to go", "shrink({ channels: 0.25 })")
  const own = { rules, score, combine, multiple, reconstruct }
  return {
    kind: "shrink",
    toJSON: () => ({ stage: "shrink", ...(options.heads !== undefined && { heads: options.heads }), ...(options.channels !== undefined && { channels: options.channels }), ...own }),
    plan: (outline) => planShrink(outline, { ...options, ...own }),
  }
}
/** {@link shrink}: attention heads only. */
export const pruneHeads = (heads: Amount, options: Omit<ShrinkOptions, "heads" | "channels" | "multiple"> = {}): Stage & Stores<"kept"> => shrink({ ...options, heads })
/** {@link shrink}: hidden features of feed-forward parts only. */
export const pruneChannels = (channels: Amount, options: Omit<ShrinkOptions, "heads" | "channels"> = {}): Stage & Stores<"kept"> => shrink({ ...options, channels })

function checkAmount(amount: Amount): void {
  if (typeof amount === "number" ? !(amount >= 0 && amount < 1) : !(Number.isInteger(amount?.keep) && amount.keep >= 1)) fail("value", "shrink", `an amount is a share from 0 up to 1, or { keep: … } from 1, got ${JSON.stringify(amount)}`)
}

/** How many stay of `count`. */
function staying(amount: Amount | undefined, count: number, multiple: number): number {
  if (amount === undefined) return count
  // What a share makes of floats: 0.29 · 100 is 28.999….
  const kept = typeof amount === "number" ? count - Math.floor(amount * count + 1e-9) : amount.keep
  return kept >= count ? kept : Math.min(count, Math.max(1, kept - (kept % multiple) || multiple))
}

/** How many heads of keys and values, and how many hidden features, stay of a block. */
export interface Staying { readonly heads: number; readonly hidden: number }

function planShrink(outline: Outline, { heads, channels, rules = [], score = "outputs", combine = "sum", multiple = 1, reconstruct = false }: ShrinkOptions): PlannedStage {
  const { config } = outline, problems: string[] = []
  for (const r of rules) for (const l of r.layers) if (!(Number.isInteger(l) && l >= 0 && l < config.layers)) problems.push(`a rule names block ${l}, the model has ${config.layers}`)
  const stays = Array.from({ length: config.layers }, (_, layer): Staying => {
    const { kvHeads, hidden } = blockShape(config, layer), rule = rules.find((r) => r.layers.includes(layer)) ?? { heads, channels }
    const left = { heads: staying(rule.heads, kvHeads, 1), hidden: staying(rule.channels, hidden, multiple) }
    if (left.heads > kvHeads) problems.push(`block ${layer} has ${kvHeads} heads of keys and values, ${left.heads} cannot stay`)
    if (left.hidden > hidden) problems.push(`block ${layer} has ${hidden} hidden features, ${left.hidden} cannot stay`)
    return left
  })
  if (problems.length > 0) fail("value", "plan", problems.join("; "))
  const after = configOfChannels(config, counted(stays)), matrices = new Map<string, OutlinedMatrix>(outline.matrices), entries: PlanEntry[] = []
  for (const { path, kind, shape, layer } of expectedTensors(after)) {
    const m = outline.matrices.get(path)
    if (kind !== "matrix" || m === undefined || String(m.shape) === String(shape)) continue
    const size = elementBytes[m.format]
    if (size === undefined) problems.push(`${path} ${showShape(m.shape)} is stored as ${m.format}`)
    const bytes = (size ?? 0) * shape[0]! * shape[1]!
    entries.push({ path, shape: shape as [number, number], method: `shrink, ${score}`, from: m.format, to: m.format, bytesBefore: m.bytes, bytesAfter: bytes, why: `was ${m.shape.join("×")}${whyOf(config, stays[layer!]!, layer!)}` })
    matrices.set(path, { ...m, shape: shape as [number, number], bytes })
  }
  if (problems.length > 0) fail("value", "plan", `channels go out of plain matrices:\n${problems.join("\n")}`, "leave out channels first, and quantize what is left")
  const looks = scoreObserves[score], needs = [...(looks === undefined ? [] : [`${score} looks at the model at work`]), ...(reconstruct ? ["columns that stay are fitted to outputs"] : [])].join(", and ")
  return {
    kind: "shrink", entries, after: reshaped(outline, after, matrices), lazily: true, ...(needs !== "" && entries.length > 0 && { needs }),
    run: (model, context) => runShrink(model, { stays, score, combine, reconstruct, entries: new Map(entries.map((e) => [e.path, e])) }, context),
  }
}

const elementBytes: Readonly<Record<string, number>> = { f64: 8, f32: 4, f16: 2, bf16: 2 }
const whyOf = (config: Config, { heads, hidden }: Staying, layer: number): string => {
  const had = blockShape(config, layer)
  return `: ${heads} of ${had.kvHeads} heads of keys and values and ${hidden} of ${had.hidden} hidden features stay`
}
/** As many as stay, whichever they are. */
const counted = (stays: readonly Staying[]): KeptByLayer => Object.fromEntries(stays.map(({ heads, hidden }, layer) => [layer, { heads: [...Array(heads).keys()], hidden: [...Array(hidden).keys()] }]))
