// llama.cpp's importance matrices: what the inputs of each matrix are like. Source of both layouts: tools/imatrix/imatrix.cpp
// and tools/quantize of llama.cpp.
import { fail, showShape } from "@thimble/core"
import { readHeader, type Cursor } from "./cursor.ts"
import { magic } from "./gguf-header.ts"
import type { GgufValue } from "./gguf-value.ts"
import { encodeGguf, type GgufTensor } from "./gguf-write.ts"
import { openGguf } from "./gguf.ts"
import { saveFile } from "./save.ts"
import { openSource, type Source, type SourceLike, type SourceOptions } from "./source.ts"

/** The inputs of one matrix, or of several of the same size side by side (experts), over the tokens of some texts. */
export interface ImatrixEntry {
  /** Σx² of each column: [matrices, columns]. */
  readonly squares: Float32Array
  /** Σx, the same way; newer files have it. */
  readonly sums?: Float32Array
  /** Tokens that each matrix has seen. */
  readonly counts: readonly number[]
}

export interface Imatrix {
  /** By the name that the matrix has in a GGUF file: `blk.0.attn_q.weight`. */
  readonly entries: ReadonlyMap<string, ImatrixEntry>
  /** Names of the texts. */
  readonly datasets: readonly string[]
  /** Pieces that the texts were cut into, and tokens of each. */
  readonly chunks: number
  readonly chunkSize: number
}

export interface ImatrixOptions extends SourceOptions {
  /** Tokens of a chunk where a file does not say it, as older ones do not; 512 unless given. Mean squares do not depend on it. */
  readonly chunkSize?: number
}

/** Mean squares [matrices, columns], as encoders take them; 1 for a matrix that has seen no token. */
export function meanSquares({ squares, counts }: ImatrixEntry): Float32Array {
  const columns = squares.length / counts.length
  return squares.map((s, i) => {
    const count = counts[Math.floor(i / columns)]!
    return count > 0 ? s / count : 1
  })
}

/** Reads an importance matrix, in a GGUF file or in the older format (`.dat`). */
export async function openImatrix(from: SourceLike, { chunkSize = 512, ...options }: ImatrixOptions = {}): Promise<Imatrix> {
  if (!(Number.isInteger(chunkSize) && chunkSize >= 1)) fail("value", "imatrix", `chunkSize must be a whole number ≥ 1, got ${chunkSize}`)
  const source = await openSource(from, options)
  try {
    const head = source.bytes < 4 ? undefined : await source.read(0, 4)
    const isGguf = head !== undefined && new DataView(head.buffer, head.byteOffset, 4).getUint32(0, true) === magic
    return await (isGguf ? readGguf(source) : readHeader("imatrix", source, (c) => readOld(c, source.bytes, chunkSize)))
  } finally {
    await source.close()
  }
}

const keys = { type: "general.type", datasets: "imatrix.datasets", chunks: "imatrix.chunk_count", chunkSize: "imatrix.chunk_size" } as const
const suffixes = { squares: ".in_sum2", counts: ".counts", sums: ".in_sum" } as const

async function readGguf(source: Source): Promise<Imatrix> {
  const file = await openGguf(source), { metadata } = file
  const refuse = (problem: string, hint?: string): never => fail("format", "imatrix", `${source.name}: ${problem}`, hint)
  const type = metadata.get(keys.type)
  if (type?.value !== "imatrix") refuse(`'${keys.type}' is ${type === undefined ? "missing" : `'${String(type.value)}'`}, not 'imatrix'`, "is it a model?")
  const whole = (key: string): number => {
    const value = metadata.get(key)?.value
    return typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : refuse(`'${key}' is ${value === undefined ? "missing" : `${String(value)}, not a whole number`}`)
  }
  const listed = metadata.get(keys.datasets)
  const datasets = listed === undefined ? [] : listed.type === "array" && listed.of === "string" ? listed.value : refuse(`'${keys.datasets}' is no list of names`)
  const names = (suffix: string): string[] => [...file.entries.keys()].filter((n) => n.endsWith(suffix)).map((n) => n.slice(0, -suffix.length))
  const read = async (name: string, what: keyof typeof suffixes): Promise<Float32Array> => {
    const tensor = `${name}${suffixes[what]}`, entry = file.entries.get(tensor)
    if (entry === undefined) return refuse(`has ${what === "counts" ? "sums" : "counts"} of '${name}', but no '${tensor}'`)
    if (entry.type !== "F32") refuse(`tensor '${tensor}' is ${entry.type}, not F32`)
    const values = new Float32Array((await file.bytes(tensor)).slice().buffer), wrong = values.findIndex((v) => !Number.isFinite(v) || (what !== "sums" && v < 0))
    return wrong < 0 ? values : refuse(`element ${wrong} of '${tensor}' is ${values[wrong]}`)
  }
  const entries = new Map<string, ImatrixEntry>()
  for (const name of new Set([...names(suffixes.squares), ...names(suffixes.counts), ...names(suffixes.sums)])) {
    const squares = await read(name, "squares"), counts = Array.from(await read(name, "counts"), Math.round)
    if (counts.length === 0 || squares.length === 0 || squares.length % counts.length !== 0) refuse(`'${name}' has ${squares.length} sums for ${counts.length} counts`)
    const sums = file.entries.has(`${name}${suffixes.sums}`) ? await read(name, "sums") : undefined
    if (sums && sums.length !== squares.length) refuse(`'${name}' has ${sums.length} sums, and ${squares.length} sums of squares`)
    entries.set(name, { squares, counts, ...(sums && { sums }) })
  }
  return { entries, datasets, chunks: whole(keys.chunks), chunkSize: whole(keys.chunkSize) }
}

/**
 * The older format: entries of a name, how often its matrix was called, and sums of the mean squares of each call; behind
 * them the number of chunks and the text's name, which the oldest files lack.
 */
function readOld(c: Cursor, total: number, chunkSize: number): Imatrix {
  const count = c.i32("the number of entries")
  if (count < 1) c.fail(0, `has ${count} entries`, "is it an importance matrix?")
  c.expect(count, 16, "its entries")
  const entries = new Map<string, ImatrixEntry>()
  for (let i = 0; i < count; i++) {
    const at = c.at, length = c.i32(`the length of name ${i}`)
    if (length < 0) c.fail(at, `name ${i} is ${length} bytes long`, "is it an importance matrix?")
    const name = c.text(length, `name ${i}`), calls = c.i32(`the calls of '${name}'`), size = c.i32(`the number of values of '${name}'`)
    if (calls < 0 || size < 1) c.fail(at, `'${name}' has ${size} values of ${calls} calls`)
    if (entries.has(name)) c.fail(at, `'${name}' stands twice`)
    const begin = c.at, means = new Float32Array(c.take(c.expect(size, 4, `'${name}'`) * 4, `'${name}'`).slice().buffer), wrong = means.findIndex((v) => !(v >= 0 && v < Infinity))
    if (wrong >= 0) c.fail(begin + 4 * wrong, `value ${wrong} of '${name}' is ${means[wrong]}`)
    // Without calls, sums are means already.
    entries.set(name, { squares: means.map((v) => v * chunkSize), counts: [Math.max(1, calls) * chunkSize] })
  }
  const at = c.at, chunks = at < total ? c.i32("the number of chunks") : 0
  if (chunks < 0) c.fail(at, `has ${chunks} chunks`)
  const datasets: string[] = []
  if (c.at < total) {
    const begin = c.at, length = c.i32("the length of the text's name")
    if (length < 0) c.fail(begin, `the text's name is ${length} bytes long`)
    if (length > 0) datasets.push(c.text(length, "the text's name"))
  }
  if (c.at < total) c.fail(c.at, `goes on for ${total - c.at} bytes after its end`)
  return { entries, datasets, chunks, chunkSize }
}

function checked({ entries, chunks, chunkSize }: Imatrix): readonly (readonly [name: string, entry: ImatrixEntry])[] {
  if (!(Number.isInteger(chunks) && chunks >= 0 && Number.isInteger(chunkSize) && chunkSize >= 1)) fail("value", "imatrix", `${chunks} chunks of ${chunkSize} tokens are no whole numbers`)
  for (const [name, { squares, sums, counts }] of entries) {
    if (counts.length === 0 || squares.length === 0 || squares.length % counts.length !== 0) fail("shape", "imatrix", `'${name}' has ${squares.length} sums for ${counts.length} counts`)
    if (sums && sums.length !== squares.length) fail("shape", "imatrix", `'${name}' has ${showShape([sums.length])} sums, and ${showShape([squares.length])} sums of squares`)
    if (!squares.every((v) => v >= 0 && v < Infinity) || sums?.every(Number.isFinite) === false || !counts.every((n) => Number.isInteger(n) && n >= 0)) fail("numeric", "imatrix", `'${name}' has sums that are no numbers, or counts that are none`)
  }
  return [...entries].sort(([a], [b]) => (a < b ? -1 : 1))
}

const bytesOf = (values: ArrayLike<number>): Uint8Array => new Uint8Array(Float32Array.from(values).buffer)

/** The bytes of an importance matrix as a GGUF file, piece by piece. */
export async function* encodeImatrix(imatrix: Imatrix): AsyncGenerator<Uint8Array> {
  const tensors = new Map<string, GgufTensor>()
  for (const [name, { squares, sums, counts }] of checked(imatrix)) {
    const shape = [counts.length, squares.length / counts.length]
    tensors.set(`${name}${suffixes.squares}`, { type: "F32", shape, bytes: bytesOf(squares) })
    tensors.set(`${name}${suffixes.counts}`, { type: "F32", shape: [counts.length, 1], bytes: bytesOf(counts) })
    if (sums) tensors.set(`${name}${suffixes.sums}`, { type: "F32", shape, bytes: bytesOf(sums) })
  }
  const metadata = new Map<string, GgufValue>([
    [keys.type, { type: "string", value: "imatrix" }], [keys.datasets, { type: "array", of: "string", value: imatrix.datasets }],
    [keys.chunks, { type: "u32", value: imatrix.chunks }], [keys.chunkSize, { type: "u32", value: imatrix.chunkSize }],
  ])
  yield* encodeGguf({ metadata, tensors })
}

/** The same in the older format, for programs that do not read the other: matrices without tokens are left out, one of several gets ones, and Σx is lost. */
export function* encodeOldImatrix(imatrix: Imatrix): Generator<Uint8Array> {
  const { chunks, chunkSize, datasets } = imatrix, int = (v: number): Uint8Array => new Uint8Array(Int32Array.of(v).buffer)
  const text = (s: string): Uint8Array[] => {
    const bytes = new TextEncoder().encode(s)
    return [int(bytes.length), bytes]
  }
  const all = checked(imatrix).filter(([, { counts }]) => counts.some((n) => n > 0))
  if (all.length === 0) fail("value", "imatrix", "no matrix has seen a token", "the older format has no empty files")
  yield int(all.length)
  for (const [name, entry] of all) {
    const calls = Math.ceil(Math.max(...entry.counts) / chunkSize)
    yield* text(name)
    yield int(calls)
    yield int(entry.squares.length)
    yield bytesOf(meanSquares(entry).map((v) => v * calls))
  }
  yield int(chunks)
  yield* text(datasets.at(-1) ?? "")
}

/** Writes an importance matrix, in the older format if the path ends in `.dat`; it appears under its name when it is complete. */
export const saveImatrix = (path: string, imatrix: Imatrix): Promise<void> => saveFile(path, /\.dat$/i.test(path) ? each(encodeOldImatrix(imatrix)) : encodeImatrix(imatrix))

async function* each(pieces: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* pieces
}
