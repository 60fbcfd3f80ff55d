import { compile, fail, stateDict, tensor, type Tensor } from "@thimble/core"
import { fileSystem, openSource, saveFile, type Source } from "@thimble/formats"
import type { Model } from "@thimble/models"
import { sha256 } from "@thimble/models"
import { type Data } from "../data/data.ts"
import { asNetwork, type Network } from "../network.ts"
import { packAnswers, unpackAnswers } from "./packed.ts"
import type { Answers } from "./teacher.ts"

/** What answers.json says of the answers in answers.bin. */
interface Index {
  readonly format: "thimble answers 1"
  /** Hashes of the teacher's parameters and of the data. */
  readonly model: string
  readonly data: string
  /** Classes per position, of how many. */
  readonly top: number
  readonly classes: number
  readonly context?: number
  /** Whether batches come again after the last. */
  readonly repeats: boolean
  /** Of each batch: shape of its positions, and bytes begin … end-1. */
  readonly blocks: readonly (readonly [shape: readonly number[], begin: number, end: number])[]
}

export interface StoreOptions {
  /** A folder for the answers; what is there is replaced. */
  readonly folder: string
  readonly data: Data
  /** How many batches, from the first on. */
  readonly batches: number
  /** Classes per position; 64 unless given. */
  readonly top?: number
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: { readonly done: number; readonly total: number; readonly bytes: number }) => void
}

/** What tells one teacher from another: a hash of names, shapes and elements of all of its tensors. */
export async function fingerprint(teacher: Model | Network): Promise<string> {
  const parts: string[] = "config" in teacher ? [JSON.stringify(teacher.config)] : []
  for (const [name, t] of Object.entries(stateDict(asNetwork(teacher).parameters))) parts.push(await sha256(`${name} ${t.dtype} ${t.shape.join()}`, await t.raw()))
  return sha256(parts.join(" "))
}

/** Asks a teacher once for its most probable classes on data, and stores them, batch by batch, for {@link cachedTeacher}. */
export async function storeAnswers(teacher: Model | Network, { folder, data, batches, top = 64, signal, onProgress }: StoreOptions): Promise<{ readonly bytes: number; readonly positions: number }> {
  const network = asNetwork(teacher), { classes, context } = network.dimensions
  if (classes === undefined) return fail("value", "storeAnswers", "the teacher must say how many classes it knows")
  if (!network.offers.includes("top")) fail("value", "storeAnswers", "the teacher has no logits")
  if (!(Number.isInteger(top) && top >= 1 && top <= classes)) fail("value", "storeAnswers", `top must be a whole number from 1 to ${classes}, got ${top}`)
  if (!(Number.isInteger(batches) && batches >= 1)) fail("value", "storeAnswers", `batches must be a whole number ≥ 1, got ${batches}`)
  const { mkdir, rm } = await fileSystem("storeAnswers")
  await mkdir(folder, { recursive: true })
  // Without its index nothing is read.
  await rm(`${folder}/answers.json`, { force: true })
  const see = compile((parameters: unknown, inputs: Tensor, padding: Tensor | undefined) => network.see(parameters, inputs, { wanted: ["top"], top, ...(padding && { padding }) }).top!)
  const blocks: [number[], number, number][] = []
  let at = 0, positions = 0
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (let index = 0; index < batches; index++) {
      signal?.throwIfAborted()
      const batch = await data.batch(index)
      const { indices, logProbabilities } = await see(network.parameters as never, batch.inputs, batch.padding as never)
      const packed = await packAnswers((await indices.data()) as Int32Array, (await logProbabilities.data()) as Float32Array, top, classes!)
      const shape = indices.shape.slice(0, -1)
      for (const t of [indices, logProbabilities, ...Object.values(batch as unknown as Record<string, Tensor>)]) t.dispose()
      blocks.push([shape, at, (at += packed.length)])
      positions += shape.reduce((a, b) => a * b, 1)
      yield packed
      onProgress?.({ done: index + 1, total: batches, bytes: at })
    }
  }
  try {
    await saveFile(`${folder}/answers.bin`, pieces())
  } finally {
    see.dispose()
  }
  const index: Index = { format: "thimble answers 1", model: await fingerprint(teacher), data: await data.id(), top, classes, ...(context !== undefined && { context }), repeats: data.period === batches, blocks }
  await saveFile(`${folder}/answers.json`, one(new TextEncoder().encode(JSON.stringify(index))))
  return { bytes: at, positions }
}
async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

export interface CachedOptions {
  /** Refuses answers of another teacher than this. */
  readonly of?: Model | Network
}

/** A teacher whose answers were stored: it shows its most probable classes, and only for the data that it was asked about. */
export async function cachedTeacher(folder: string, { of }: CachedOptions = {}): Promise<Answers & AsyncDisposable> {
  const { readFile } = await fileSystem("cachedTeacher")
  const text = await readFile(`${folder}/answers.json`, "utf8").catch(() => fail("format", "cachedTeacher", `${folder} has no answers.json`, "storeAnswers() writes it when it is done"))
  const index = JSON.parse(text) as Index
  if (index.format !== "thimble answers 1") fail("format", "cachedTeacher", `${folder}/answers.json is of the unknown format '${String(index.format)}'`)
  if (of !== undefined && (await fingerprint(of)) !== index.model) fail("value", "cachedTeacher", `the answers in ${folder} are those of another teacher, or of this one before it changed`, "storeAnswers() again")
  const { blocks, top, classes, context, repeats } = index
  const file: Source = await openSource(`${folder}/answers.bin`), expected = blocks.at(-1)?.[2] ?? 0
  if (file.bytes !== expected) {
    await file.close()
    fail("format", "cachedTeacher", `${folder}/answers.bin has ${file.bytes} bytes, not ${expected}`)
  }
  const tokenizer = of === undefined ? undefined : asNetwork(of).tokenizer
  return {
    offers: ["top"], dimensions: { classes, ...(context !== undefined && { context }) }, ...(tokenizer && { tokenizer }),
    async prepare({ data, ask }) {
      if (data !== index.data) fail("value", "cachedTeacher", `the answers in ${folder} are to other data`, "the same texts, batches and seed, or storeAnswers() again")
      if ((ask.top ?? 1) > top) fail("value", "cachedTeacher", `the loss asks for ${ask.top} classes per position, ${top} were stored`, "topK() of fewer, or storeAnswers() with more")
    },
    async answer(batch, _ask, number) {
      const block = blocks[repeats ? number % blocks.length : number] ?? fail("index", "cachedTeacher", `batch ${number} was not stored, ${blocks.length} were`, "repeat(data, batches) goes through them again and again")
      const [shape, begin, end] = block, n = shape.reduce((a, b) => a * b, 1)
      if (n !== batch.inputs.size && n !== batch.inputs.shape[0]) fail("shape", "cachedTeacher", `answers to ${n} positions were stored for batch ${number}, which has ${batch.inputs.size}`)
      const { indices, logProbabilities } = await unpackAnswers(await file.read(begin, end), n, top, classes)
      return { top: { indices: tensor(indices, { shape: [...shape, top] }), logProbabilities: tensor(logProbabilities, { shape: [...shape, top] }) } }
    },
    [Symbol.asyncDispose]: () => file.close(),
  }
}
