import { castTo, checkpoint, fail, isFloat, mapTree, type DType, type Tensor } from "@thimble/core"
import { architectureOf, type Block, type Model, type Traced } from "@thimble/models"
import { headLogits } from "./loss/chunked.ts"
import type { Head, Quantity, Seen } from "./loss/loss.ts"
import { withTop, type Ask, type Network } from "./network.ts"

export interface LanguageOptions {
  /** What the backward pass has at hand: all there is (unless given), or only what goes into each block, whose inside is computed again. */
  readonly keep?: "all" | "blocks"
  /** What blocks compute with and store: f32 unless given. Parameters stay what they are; logits are f32. */
  readonly precision?: "f32" | "f16" | "bf16"
}

/** A language model as a network: it shows streams, attention, and what the head reads. */
export function languageModel(model: Model, { keep = "all", precision = "f32" }: LanguageOptions = {}): Network<Model> {
  const { config } = model, { names } = architectureOf(config)
  const plainHead = names.headTransform === undefined && names.headNorm === undefined && !config.headless
  const blockwise = keep === "blocks" || precision !== "f32"
  const offers: Quantity[] = ["final", "embedding", "hidden"]
  if (!config.headless) offers.push("logits", "top")
  if (plainHead) offers.push("head")
  if (!blockwise) offers.push("attention", "queries", "keys", "values")
  return {
    parameters: model, offers,
    dimensions: { classes: config.vocabulary, width: config.width, layers: config.layers, heads: config.heads, kvHeads: config.kvHeads, context: config.context },
    ...(model.tokenizer && { tokenizer: model.tokenizer }),
    ...(precision !== "f32" && { precision }),
    see(m, ids, ask) {
      const seen = blockwise ? byBlocks(m, ids, ask, keep, precision) : whole(m, ids, ask), wants = (q: Quantity): boolean => ask.wanted.includes(q)
      const head = plainHead ? headOf(m) : undefined
      const logits = !wants("logits") && !wants("top") ? undefined : head === undefined ? castTo(m.head(seen.last), "f32") : castTo(headLogits(head, seen.final), "f32")
      return withTop({ ...seen.shown, final: seen.final, ...(head && { head }), ...(logits && { logits }) }, ask)
    },
  }
}

/** How logits are made of the final stream. */
function headOf({ config, weights, vectors }: Model): Head {
  const { names } = architectureOf(config), path = config.tied ? names.embedding! : names.head!
  const bias = vectors[`${names.head}.bias`]
  return { weight: weights[path] ?? fail("value", "languageModel", `the model has no weight '${path}'`), ...(bias && { bias }), ...(config.logitCap !== undefined && { cap: config.logitCap }) }
}

interface Run { readonly shown: Seen; readonly final: Tensor; readonly last: Tensor }

function whole(m: Model, ids: Tensor, { wanted, padding }: Ask): Run {
  const blocks: Traced[] = []
  const final = m.hidden(ids, { ...(padding && { mask: padding }), trace: (layer, t) => void (blocks[layer] = t) })
  const each = (of: (t: Traced) => Tensor): Tensor[] => blocks.map(of)
  return {
    final, last: blocks.at(-1)!.after,
    shown: {
      embedding: blocks[0]!.before, hidden: each((t) => t.after), queries: each((t) => t.queries), keys: each((t) => t.keys), values: each((t) => t.values),
      ...(wanted.includes("attention") && { attention: each((t) => t.attention()) }),
    },
  }
}

function byBlocks(given: Model, ids: Tensor, { padding }: Ask, keep: "all" | "blocks", precision: DType): Run {
  const m = precision === "f32" ? given : mapTree(given, (t) => (isFloat(t.dtype) ? castTo(t, precision) : t)), hides = padding && { mask: padding }
  const run = (block: Block, x: Tensor): Tensor => block.forward(x, hides)
  const parts = m.parts()
  let x = castTo(m.embed(ids), precision)
  const embedding = x, hidden: Tensor[] = []
  for (const block of m.blocks()) {
    if (keep === "all") x = run(block, x)
    else {
      // Gradients are found along operands, so the block's parameters have to be some.
      const own = Object.keys(parts).filter((name) => name.startsWith(`${block.path}.`))
      x = checkpoint((x, ...tensors) => run(m.withParts({ ...parts, ...Object.fromEntries(own.map((name, i) => [name, tensors[i]!])) }).blocks()[block.layer]!, x))(x, ...own.map((name) => parts[name]!))
    }
    hidden.push(x)
  }
  return { final: m.finish(x), last: x, shown: { embedding, hidden } }
}
