import { tensorsOf } from "@thimble/core"
import type { Calibration } from "@thimble/compress"
import { evaluate, klDivergence, type Model } from "@thimble/models"
import { deviation, mean } from "../figures.ts"
import type { Bench, Row } from "./rows.ts"

/** A row as it was measured: means over seeds. */
export interface Measured {
  readonly group: string
  readonly name: string
  /** Stored bits by weight, of the matrices of blocks; and bytes of the whole model. */
  readonly bits: number
  readonly bytes: number
  readonly perplexity: number
  /** KL divergence from the original, nats per token, its standard error over tokens, and its standard deviation over seeds. */
  readonly divergence: number
  readonly error: number
  readonly spread?: number
  readonly agreement: number
  /** One value for each seed. */
  readonly divergences: readonly number[]
  /** To compress it once. */
  readonly seconds: number
}

export interface MeasureOptions extends Pick<Bench, "model" | "text" | "signal"> {
  /** Calibration data of a seed. */
  calibration(seed: number): Promise<Calibration>
  /** What is scored. */
  readonly heldOut: string
  readonly tokens: number
  readonly seeds: readonly number[]
}

export async function measured(row: Row, { model, text, signal, calibration, heldOut, tokens, seeds }: MeasureOptions): Promise<Measured> {
  const found: { bits: number; bytes: number; perplexity: number; divergence: number; error: number; agreement: number; seconds: number }[] = []
  for (const seed of row.seeded ? seeds : seeds.slice(0, 1)) {
    const data = await calibration(seed), begun = performance.now(), small = await row.make({ model, data, seed, text, signal }), seconds = (performance.now() - begun) / 1000
    const { results: [r] } = await evaluate(small, { reference: model, metrics: [klDivergence(heldOut, { context: 256, tokens })], signal })
    found.push({ bits: bitsOf(small), bytes: small.bytes, perplexity: r.perplexity, divergence: r.value, error: r.standardError, agreement: r.topAgreement, seconds })
    const kept = new Set(tensorsOf(model))
    for (const t of tensorsOf(small)) if (!kept.has(t)) t.dispose()
  }
  const of = (key: keyof (typeof found)[number]): number => mean(found.map((f) => f[key])), divergence = of("divergence")
  return {
    group: row.group, name: row.name, bits: of("bits"), bytes: of("bytes"), perplexity: of("perplexity"), divergence, error: of("error"), agreement: of("agreement"), seconds: of("seconds"), divergences: found.map((f) => f.divergence),
    ...(found.length > 1 && { spread: deviation(found.map((f) => f.divergence)) }),
  }
}

function bitsOf(model: Model): number {
  const own = model.blocks().flatMap((b) => b.linears.map((p) => model.weights[p]!))
  return (8 * own.reduce((n, w) => n + w.bytes, 0)) / own.reduce((n, w) => n + w.shape[0] * w.shape[1], 0)
}
