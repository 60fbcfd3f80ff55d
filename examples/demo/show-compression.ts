import { loadModel, type Model } from "@thimble/models"
import { joined, ofSource, prose } from "../train/text.ts"
import { compare, type Saved } from "./compare.ts"
import { progress } from "./progress.ts"
import { schemes } from "./schemes.ts"
import { table } from "./table.ts"

export interface ShowOptions {
  readonly device: string
  readonly seed: number
  readonly out: string
  readonly signal: AbortSignal
  readonly prompt?: string
}

/** Tokens of each sample. */
const count = 64
/** The file that is read back. */
const again = "Q4_K_M"

/** Loads a model, lets it write, compresses it in all ways, and tells what each cost. */
export async function showCompression({ model: path, device, seed, out, signal, prompt = "Call me Ishmael." }: ShowOptions & { readonly model: string }): Promise<void> {
  const model = await loadModel(path)
  const { layers, width, heads, kvHeads, context, vocabulary, architecture } = model.config
  console.log(`${path}: ${number(model.size)} parameters in ${number(model.bytes)} bytes; ${architecture}, ${layers} layers of width ${width}, ${heads} heads on ${kvHeads} key heads, vocabulary ${number(vocabulary)}, context ${context}; on ${device}.`)
  const prompted = { maxTokens: count, signal }
  console.log(`\n── the most probable\n${prompt}${(await model.generate(prompt, prompted).done()).text}`)
  console.log(`\n── drawn, temperature 0.8, top-p 0.95, seed ${seed}\n${prompt}${(await model.generate(prompt, { ...prompted, temperature: 0.8, topP: 0.95, seed }).done()).text}\n`)

  const chapters = ofSource((await prose()).heldOut, "Moby Dick")
  const bar = progress("compressing and measuring {bar} {value}/{total} · {name}", schemes.length + 1, { name: "" })
  const rows = await compare(model, {
    schemes, name: "BF16", file: "gguf", out, signal, prompt, count,
    text: joined(chapters), protocol: {},
    onStart: (name) => bar.next({ name }),
  })
  bar.stop()
  console.log(table(rows))
  const { protocol } = rows[0]!
  console.log(`Perplexity per token on ${chapters.length} held-out chapters of Moby Dick: ${number(protocol.scored)} tokens in blocks of ${protocol.stride}, ${protocol.bos === null ? "nothing" : `token ${protocol.bos}`} before each,
context ${protocol.context}, all scored; SHA-256 of the text ${protocol.text.slice(0, 16)}…. KL divergence of the predictions from those of ${rows[0]!.name}, in nats
per token; "same top" is the share of tokens where both have the same favourite. Tokens/s decode one sequence with a cache.`)
  await readBack(rows.find((r) => r.name === again)!, prompt, model, signal)
  for (const r of rows) console.log(`\n── ${r.name} (${r.file})\n${prompt}${model.tokenizer!.decode(r.ids)}`)
}

/** Loads a file that was written, and checks that it is the model that was measured. */
async function readBack(row: Saved, prompt: string, original: Model, signal: AbortSignal): Promise<void> {
  const read = await loadModel(row.file, { activations: "int8" })
  const { ids } = await read.generate(prompt, { maxTokens: count, signal }).done()
  if (ids.join() !== row.ids.join()) throw new Error(`${row.file} goes on otherwise than the model it was written from: ${original.tokenizer!.decode(ids)}`)
  console.log(`${row.file}, read back, goes on with the same ${ids.length} tokens.`)
}

const number = (n: number): string => n.toLocaleString("en")
