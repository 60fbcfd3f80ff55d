import { mean, whole } from "../figures.ts"

/** What pruning does to networks that read digits. */
export interface DigitResults {
  readonly images: { readonly training: number; readonly test: number }
  /** A network of linear layers, and tickets of it: percent of right answers, a value per seed. */
  readonly ticket: { readonly layers: readonly number[]; readonly left: number; readonly rounds: number; readonly whole: readonly number[]; readonly pruned: readonly number[]; readonly random: readonly number[] }
  /** A network of convolutions that loses channels. */
  readonly channels: {
    readonly share: number
    readonly whole: readonly number[]
    readonly cut: readonly number[]
    readonly tuned: readonly number[]
    readonly parameters: readonly [before: number, after: number]
    /** Milliseconds of a batch, in turns. */
    readonly milliseconds: readonly [before: number, after: number]
    readonly batch: number
  }
}

const shown = (x: readonly number[]): string => `${mean(x).toFixed(2)} % (${x.map((v) => v.toFixed(2)).join(", ")})`

/** Whether what should hold does, in words. */
export function digitClaims({ ticket, channels }: DigitResults): readonly (readonly [words: string, holds: boolean])[] {
  const lost = mean(ticket.whole) - mean(ticket.pruned), gone = mean(channels.whole) - mean(channels.tuned), [before, after] = channels.milliseconds
  return [
    [`With ${100 * ticket.left} % of its weights the network of linear layers is within 0.5 points: ${lost.toFixed(2)} lost`, lost <= 0.5],
    [`Without half of its channels the network of convolutions is within 1 point: ${gone.toFixed(2)} lost`, gone <= 1],
    [`It is at least 1.5 times as fast: ${(before / after).toFixed(2)} ×`, before / after >= 1.5],
  ]
}

export function digitsSection(results: DigitResults): string {
  const { images, ticket, channels } = results, [before, after] = channels.milliseconds
  return `
## Digits

MNIST, ${whole(images.training)} images to learn from and ${whole(images.test)} to test; percent of right answers, one for each seed.

| network | right |
|---|---:|
| ${ticket.layers.join("-")}, all weights | ${shown(ticket.whole)} |
| … ${100 * ticket.left} % of them, a lottery ticket of ${ticket.rounds} rounds, from its first weights | ${shown(ticket.pruned)} |
| … in the same places, from first weights drawn anew | ${shown(ticket.random)} |
| convolutions with batch norm, ${whole(channels.parameters[0])} parameters | ${shown(channels.whole)} |
| … without ${100 * channels.share} % of the channels of each, ${whole(channels.parameters[1])} parameters, as cut | ${shown(channels.cut)} |
| … and tuned | ${shown(channels.tuned)} |

A batch of ${channels.batch} images takes ${before.toFixed(2)} ms before and ${after.toFixed(2)} ms after, medians in turns, on one thread.

| | |
|---|---|
${digitClaims(results).map(([words, holds]) => `| ${words} | ${holds ? "yes" : "**no**"} |`).join("\n")}
`
}
