import { crossEntropy, fail } from "@thimble/core"
import { inBatches, type Row } from "./batches.ts"
import { sha256 } from "../sha256.ts"
import { hashOfTokenizer } from "./hash.ts"
import type { Evaluated, Measured, Metric, Part } from "./metric.ts"
import { meanOf } from "./statistics.ts"

/** A text, how it may go on (its space in front included), and which of these is right. */
export interface ChoiceItem { readonly question: string; readonly choices: readonly string[]; readonly answer: number }

/** What a choice's log-likelihood is divided by, so that long ones are not at a disadvantage. */
export type Normalization = "bytes" | "tokens" | "none"
export interface ChoiceOptions {
  /** `bytes`, UTF-8 bytes of the choice, unless given. */
  readonly normalize?: Normalization
  /** Whether texts begin as the tokenizer wraps them; true unless given. */
  readonly bos?: boolean
}
export interface ChoiceProtocol {
  /** SHA-256 of the items as JSON. */
  readonly items: string
  readonly tokenizer: string
  readonly count: number
  readonly normalize: Normalization
  readonly bos: boolean
}
/** `value` is the share of items whose right choice the model finds the most likely. */
export interface ChoiceAccuracy extends Measured<ChoiceProtocol> {
  readonly metric: "multipleChoice"
  /** What the model chose, item by item, and the log-likelihoods of all choices, not normalised. */
  readonly chosen: readonly number[]
  readonly logLikelihoods: readonly (readonly number[])[]
}

/** Lengths are rounded up to a multiple of this, so that few programs serve all. */
const bucket = 32

/** How often a model finds the right of several continuations the most likely, by (normalised) log-likelihood. */
export function multipleChoice(items: readonly ChoiceItem[], options: ChoiceOptions = {}): Metric<ChoiceAccuracy> {
  const { normalize = "bytes", bos = true } = options
  const op = "multipleChoice"
  if (items.length === 0) fail("value", op, "needs at least one item")
  items.forEach(({ choices, answer }, i) => {
    if (choices.length < 2) fail("value", op, `item ${i} has ${choices.length} choices`, "two or more make a choice")
    if (!Number.isInteger(answer) || answer < 0 || answer >= choices.length) fail("index", op, `the answer ${answer} of item ${i} is none of its ${choices.length} choices`)
    if (choices.includes("")) fail("value", op, `item ${i} has an empty choice`)
  })
  if (!["bytes", "tokens", "none"].includes(normalize)) fail("value", op, `cannot normalise by '${String(normalize)}'`, "bytes, tokens or none")
  return {
    name: op,
    async measure(run) {
      const { model } = run
      const tokenizer = model.tokenizer ?? fail("value", op, "the model has no tokenizer", "load one with the model")
      const encoded = items.map((item, i) => item.choices.map((choice) => continuation(model, item.question, choice, bos, i)))
      const likelihoods = encoded.map((choices) => choices.map(() => 0))
      // Rows of one length together, and one count of all positions for them.
      const groups = Map.groupBy(encoded.flatMap((choices, item) => choices.map((row, choice) => ({ ...row, item, choice }))), (row) => row.inputs.length)
      const total = [...groups].reduce((n, [length, rows]) => n + length * rows.length, 0)
      let before = 0
      for (const [length, rows] of groups) {
        const part = { ...run, progress: (done: number): void => run.progress(before + done, total) }
        await inBatches(part, rows, (ids, targets) => ({ loss: crossEntropy(model.forward(ids), targets, { reduction: "none", ignoreIndex: -1 }) }), (i, { loss }) => {
          const { item, choice, targets } = rows[i]!
          likelihoods[item]![choice] = -loss.reduce((s, v, at) => (targets[at]! < 0 ? s : s + v), 0)
        })
        before += length * rows.length
      }
      const size: Record<Normalization, (item: number, choice: number) => number> = {
        bytes: (item, choice) => new TextEncoder().encode(items[item]!.choices[choice]).length,
        tokens: (item, choice) => encoded[item]![choice]!.targets.filter((t) => t >= 0).length,
        none: () => 1,
      }
      const chosen = likelihoods.map((row, item) => {
        const scores = row.map((v, choice) => v / size[normalize](item, choice))
        return scores.indexOf(Math.max(...scores))
      })
      const right = Float64Array.from(chosen, (c, i) => (c === items[i]!.answer ? 1 : 0)), { mean, standardError } = meanOf(right)
      return {
        metric: op, value: mean, standardError, chosen, logLikelihoods: likelihoods, parts: Array.from(right, (sum): Part => ({ sum, count: 1 })),
        protocol: { items: await sha256(JSON.stringify(items.map(({ question, choices, answer }) => [question, choices, answer]))), tokenizer: await hashOfTokenizer(tokenizer), count: items.length, normalize, bos },
      }
    },
  }
}

/** Question and choice are encoded as one text; what differs from the question alone is the choice's. */
function continuation({ tokenizer, config }: Evaluated, question: string, choice: string, wrap: boolean, item: number): Row {
  const alone = tokenizer!.encode(question, { wrap }), ids = tokenizer!.encode(question + choice, { wrap })
  let start = alone.findIndex((id, i) => id !== ids[i])
  if (start < 0) start = alone.length
  // What a tokenizer puts behind a text is no part of the choice.
  if (wrap && tokenizer!.eos !== undefined && ids.at(-1) === tokenizer!.eos && alone.at(-1) === tokenizer!.eos) ids.pop()
  start = Math.min(start, ids.length - 1)
  if (start < 1) fail("value", "multipleChoice", `item ${item} has a choice without anything before it to predict it from`, "give it a question, or let texts begin with a token (bos)")
  const length = ids.length - 1
  if (length > config.context) fail("value", "multipleChoice", `item ${item} takes ${length} positions, the model has ${config.context}`)
  const padded = Math.min(Math.ceil(length / bucket) * bucket, config.context)
  const inputs = new Int32Array(padded), targets = new Int32Array(padded).fill(-1)
  inputs.set(ids.slice(0, length))
  for (let i = start; i < ids.length; i++) targets[i - 1] = ids[i]!
  return { inputs, targets }
}
