// What fuzzing reads: for each format files of any contents, changed, and what must hold of whatever can be opened.
import { tensorsOf, ThimbleError } from "@thimble/core"
import fc from "fast-check"
import { strToU8, zipSync } from "fflate"
import { dtypeNames, encodeGguf, encodeImatrix, encodeNpy, encodeOldImatrix, encodeSafetensors, meanSquares, openGguf, openImatrix, openLlama2c, openNpy, openNpz, openSafetensors, openSentencePiece, type NpyDType, type RawTensor, type Source } from "../src/index.ts"
import { npyTypes } from "../src/npy-header.ts"
import { bitsOf } from "../src/safetensors-header.ts"
import { contents, joined } from "../test/gguf-arbitrary.ts"
import { imatrices } from "../test/imatrix-arbitrary.ts"
import { mutation, rewording } from "./mutate.ts"

export interface Target {
  readonly files: fc.Arbitrary<() => Promise<Uint8Array>>
  /** Opens a file and reads all of it; throws what is wrong, a ThimbleError if it is the file. */
  read(source: Source): Promise<void>
}

/** Reads only what is there, and counts it. */
export function counted(bytes: Uint8Array): Source & { readonly asked: number } {
  const close = (): Promise<void> => Promise.resolve()
  const own = {
    name: "fuzz", bytes: bytes.length, asked: 0, close, [Symbol.asyncDispose]: close,
    read(begin: number, end: number): Promise<Uint8Array> {
      if (!(begin >= 0 && begin <= end && end <= bytes.length)) throw new Error(`read ${begin} … ${end} of ${bytes.length} bytes`)
      own.asked += end - begin
      return Promise.resolve(bytes.subarray(begin, end))
    },
  }
  return own
}

/** A file's tensors, each read as bytes of the size that its entry gives; those that no tensor holds are refused as such. */
async function readTensors(file: { entries: ReadonlyMap<string, { readonly begin: number; readonly end: number }>; bytes(name: string): Promise<Uint8Array>; tensor(name: string): Promise<unknown> }): Promise<void> {
  for (const [name, { begin, end }] of file.entries) {
    const bytes = await file.bytes(name)
    if (bytes.length !== end - begin) throw new Error(`'${name}': ${bytes.length} bytes for ${begin} … ${end}`)
    await file.tensor(name).then((t) => (t as { dispose(): void }).dispose(), (e: unknown) => {
      if (!(e instanceof ThimbleError) || !["dtype", "format"].includes(e.code)) throw e
    })
  }
}

type Make = () => Promise<Uint8Array>
/** Files of some contents, changed. */
const changed = (file: fc.Arbitrary<Make>): fc.Arbitrary<Make> => fc.tuple(file, mutation).map(([make, change]) => async () => change(await make()))

const raw = fc.record({ dtype: fc.constantFrom(...dtypeNames), shape: fc.array(fc.nat(4), { maxLength: 3 }) }).map(({ dtype, shape }): RawTensor => {
  const own = (bitsOf(dtype) * shape.reduce((a, b) => a * b, 1)) % 8 === 0 ? shape : [...shape, 4]
  return { dtype, shape: own, bytes: new Uint8Array((bitsOf(dtype) * own.reduce((a, b) => a * b, 1)) / 8) }
})
const safetensors = fc.tuple(fc.dictionary(fc.string({ maxLength: 6 }), raw, { maxKeys: 4, noNullPrototype: true }),
  rewording(["null", "true", "[]", "{}", '""', '"F4"', '"F32"', '"__metadata__"', '"__proto__"', "-1", "1.5", "1e400", "[", "}", ",", '"\\ud800"'])).map(([tensors, reword]): Make => async () => {
  const bytes = await joined(encodeSafetensors(tensors))
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true))
  const header = strToU8(reword(new TextDecoder().decode(bytes.subarray(8, 8 + length))))
  const out = new Uint8Array(8 + header.length + bytes.length - 8 - length)
  new DataView(out.buffer).setBigUint64(0, BigInt(header.length), true)
  out.set(header, 8)
  out.set(bytes.subarray(8 + length), 8 + header.length)
  return out
})

const npyArray = fc.tuple(fc.constantFrom(...(Object.keys(npyTypes) as NpyDType[])), fc.array(fc.nat(4), { maxLength: 3 })).map(([dtype, shape]) => ({ dtype, shape, bytes: new Uint8Array(npyTypes[dtype].bytes * shape.reduce((a, b) => a * b, 1)) }))
const npy = fc.tuple(npyArray, rewording(["True", "None", "'>f8'", "'|V2'", "'<i4'", "(", ")", ",", "3,", "-1", "1L", "'shape'", "[", "}", ""])).map(([array, reword]): Make => async () => {
  const bytes = await joined(encodeNpy(array))
  const start = 10, length = bytes[8]! | bytes[9]! << 8
  const header = strToU8(reword(new TextDecoder().decode(bytes.subarray(start, start + length))))
  return Uint8Array.from([...bytes.subarray(0, 8), header.length & 255, header.length >> 8, ...header, ...bytes.subarray(start + length)])
})
const npz = fc.tuple(fc.dictionary(fc.constantFrom("a", "b", "c"), npy, { maxKeys: 3, noNullPrototype: true }), fc.constantFrom(0, 6)).map(([arrays, level]): Make => async () => {
  const members = await Promise.all(Object.entries(arrays).map(async ([name, make]) => [`${name}.npy`, await make()] as const))
  return zipSync(Object.fromEntries(members), { level: level as 0, mtime: "1980-01-01T00:00:00" })
})

/** Small models, of each version. */
const llama2c = fc.record({ version: fc.constantFrom(0, 1, 2), sizes: fc.tuple(...[16, 12, 2, 4, 2, 9, 8].map((n) => fc.oneof({ weight: 30, arbitrary: fc.constant(n) }, { weight: 1, arbitrary: fc.integer({ min: -5, max: 40 }) }))), shared: fc.boolean() }).map(({ version, sizes, shared }): Make => () => {
  const head = new Uint8Array(version === 0 ? 28 : 256), view = new DataView(head.buffer), at = version === 0 ? 0 : 8
  sizes.forEach((n, i) => view.setInt32(at + 4 * i, n, true))
  if (version === 0 && !shared) view.setInt32(20, -sizes[5]!, true)
  if (version > 0) {
    view.setUint32(0, 0x616b3432, true)
    view.setInt32(4, version, true)
    head[36] = Number(shared)
    view.setInt32(37, 4, true)
  }
  const [dim, hidden, layers, heads, kv, vocab, length] = sizes as [number, number, number, number, number, number, number]
  const matrices = (shared ? 1 : 2) * vocab * dim + layers * (2 * dim * dim + 2 * dim * (dim / heads) * kv + 3 * dim * hidden)
  const n = 4 * (layers * 2 * dim + dim) + (version === 2 ? 2 : 4) * matrices + (version === 0 ? 4 * length * (dim / heads) : 0)
  const out = new Uint8Array(head.length + (n >= 0 && n < 1e6 ? Math.floor(n) : 0))
  out.set(head)
  return Promise.resolve(out)
})

/** Small vocabularies: an unknown piece, then others of any type, with settings. */
const message = (field: number, bytes: number[]): number[] => [8 * field + 2, bytes.length, ...bytes]
const sentencePiece = fc.record({
  pieces: fc.array(fc.record({ name: fc.string({ unit: fc.constantFrom("a", "b", "c", "\u2581", "\u65e5"), maxLength: 4 }), score: fc.float(), type: fc.integer({ min: 1, max: 6 }) }), { maxLength: 12 }),
  algorithm: fc.constantFrom(1, 2), fallback: fc.constantFrom(0, 1), prefix: fc.constantFrom(0, 1), trim: fc.constantFrom(0, 1),
}).map(({ pieces, algorithm, fallback, prefix, trim }): Make => () => Promise.resolve(Uint8Array.from([{ name: "?", score: 0, type: 2 }, ...pieces].flatMap(({ name, score, type }) =>
  message(1, [...message(1, [...strToU8(name)]), 21, ...new Uint8Array(Float32Array.of(score).buffer), 24, type])).concat(message(2, [24, algorithm, 0x98, 0x02, fallback]), message(3, [24, prefix, 32, trim])))))

const readImatrix = async (s: Source): Promise<void> => {
  for (const [name, entry] of (await openImatrix(s)).entries)
    if (!meanSquares(entry).every((v) => v >= 0)) throw new Error(`'${name}' has means that are none`)
}

export const targets: Readonly<Record<string, Target>> = {
  gguf: {
    files: changed(contents.map((all) => () => joined(encodeGguf(all)))),
    async read(s) {
      const file = await openGguf(s)
      await readTensors(file)
      for (const name of file.entries.keys())
        await file.weight(name).then((w) => tensorsOf(w).forEach((t) => t.dispose()), (e: unknown) => {
          if (!(e instanceof ThimbleError) || !["dtype", "shape"].includes(e.code)) throw e
        })
    },
  },
  safetensors: { files: changed(safetensors), read: async (s) => readTensors(await openSafetensors(s)) },
  npy: { files: changed(npy), read: async (s) => void await (await openNpy(s)).array() },
  npz: {
    files: changed(npz),
    async read(s) {
      const file = await openNpz(s)
      for (const name of file.names) await file.array(name)
    },
  },
  sentencepiece: {
    files: fc.tuple(sentencePiece, mutation).map(([make, change]) => async () => change(await make())),
    async read(s) {
      const tokenizer = await openSentencePiece(s), ids = tokenizer.encode("a bc \u65e5 ab")
      if (ids.some((id) => !(id >= 0 && id < tokenizer.size))) throw new Error(`ids ${ids.join()} of ${tokenizer.size}`)
      tokenizer.decode(ids)
    },
  },
  imatrix: { files: changed(imatrices.map((m) => () => joined(encodeImatrix(m)))), read: readImatrix },
  oldImatrix: { files: changed(imatrices.map((m) => async () => Uint8Array.from([...encodeOldImatrix(m)].flatMap((piece) => [...piece])))), read: readImatrix },
  llama2c: { files: changed(llama2c), read: async (s) => readTensors(await openLlama2c(s)) },
}

/** How a file was met: read, or refused with the reason. Anything else is thrown. */
export async function meet({ read }: Target, bytes: Uint8Array): Promise<"read" | "refused"> {
  const source = counted(bytes)
  const outcome = await read(source).then(() => "read" as const, (e: unknown) => {
    if (!(e instanceof ThimbleError) || e.code !== "format") throw e
    if (!e.message.includes("fuzz: ")) throw new Error(`the file is not named: ${e.message}`, { cause: e })
    return "refused" as const
  })
  // Each byte once for the header, once as a tensor, once more for the tensor on the device; headers grow fourfold.
  if (source.asked > 16 * bytes.length + 1024) throw new Error(`${source.asked} bytes were read of ${bytes.length}`)
  return outcome
}
