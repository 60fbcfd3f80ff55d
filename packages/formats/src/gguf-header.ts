import type { Cursor } from "./cursor.ts"
import { showShape } from "@thimble/core"
import { readString, readType, readValue, type GgufValue } from "./gguf-value.ts"
import { ggufBytes, ggufTypeOf, ggufTypes, type GgufDType } from "./gguf-types.ts"

/** What the header tells of one tensor: row-major shape, offsets from the start of the file. */
export interface GgufEntry { readonly type: GgufDType; readonly shape: readonly number[]; readonly begin: number; readonly end: number }

export interface GgufHeader {
  readonly version: number
  readonly alignment: number
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly entries: ReadonlyMap<string, GgufEntry>
}

export const magic = 0x46554747
export const alignmentKey = "general.alignment"
export const defaultAlignment = 32
export const padded = (n: number, alignment: number): number => Math.ceil(n / alignment) * alignment

/** Reads a header as strictly as ggml does: offsets follow each other in order, with no gaps but padding. */
export function parseGguf(c: Cursor, fileBytes: number): GgufHeader {
  if (c.u32("the magic number") !== magic) c.fail(0, "does not begin with 'GGUF'", "is it a GGUF file?")
  const version = c.u32("the version")
  if ((version & 0xffff) === 0) c.fail(4, `is of version ${version >>> 24} in big-endian order`, "convert it to little-endian")
  if (version !== 2 && version !== 3) c.fail(4, `is of version ${version}; 2 and 3 can be read`)
  // A tensor takes at least name length, number of axes, type and offset; a value key length, type and a byte.
  const tensors = c.expect(c.u64("the number of tensors"), 24, "its tensors' descriptions")
  const values = c.expect(c.u64("the number of metadata values"), 13, "its metadata")

  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < values; i++) {
    const at = c.at, key = readString(c, `the key of metadata value ${i}`)
    if (key === "") c.fail(at, `metadata value ${i} has an empty key`)
    if (metadata.has(key)) c.fail(at, `the key '${key}' stands twice`)
    metadata.set(key, readValue(c, readType(c, `'${key}'`), `'${key}'`))
  }
  const alignment = alignmentOf(metadata, (problem) => c.fail(c.at, problem))

  const found: { name: string; type: GgufDType; shape: number[]; bytes: number; offset: bigint; at: number }[] = []
  const names = new Set<string>()
  for (let i = 0; i < tensors; i++) {
    const at = c.at, name = readString(c, `the name of tensor ${i}`), what = `tensor '${name}'`
    if (names.has(name)) c.fail(at, `${what} stands twice`)
    names.add(name)
    const axes = c.u32(`the number of axes of ${what}`)
    if (axes > 4) c.fail(at, `${what} has ${axes} axes, more than 4`)
    const shape: number[] = []
    for (let a = 0; a < axes; a++) {
      const n = c.u64(`the shape of ${what}`)
      if (n >= 2n ** 53n) c.fail(at, `${what} has an axis of ${n}`)
      shape.unshift(Number(n))
    }
    const id = c.u32(`the type of ${what}`), type = ggufTypeOf(id) ?? c.fail(at, `${what} has the unknown type ${id}`)
    const bytes = ggufBytes(type, shape) ?? c.fail(at, `${what} is ${type}${showShape(shape)}, whose rows are no whole blocks of ${ggufTypes[type].size}, or too large`)
    found.push({ name, type, shape, bytes, offset: c.u64(`the offset of ${what}`), at })
  }

  const data = padded(c.at, alignment)
  let end = data
  const entries = new Map(found.map(({ name, type, shape, bytes, offset, at }): [string, GgufEntry] => {
    const begin = padded(end, alignment)
    if (BigInt(data) + offset !== BigInt(begin)) c.fail(at, `tensor '${name}' has the offset ${offset}, but the one before it ends at ${end - data}: ${begin - data} was to be expected`)
    end = begin + bytes
    if (end > fileBytes) c.fail(at, `tensor '${name}' ends at byte ${end}, but the file has ${fileBytes}`, "was the download cut off?")
    return [name, { type, shape, begin, end }]
  }))
  return { version, alignment, metadata, entries }
}

/** The alignment that metadata asks for. */
export function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, refuse: (problem: string) => never): number {
  const value = metadata.get(alignmentKey)
  if (value === undefined) return defaultAlignment
  if (value.type !== "u32" || value.value === 0 || !Number.isInteger(Math.log2(value.value))) return refuse(`'${alignmentKey}' must be a u32 and a power of two, got ${value.type} ${String(value.value)}`)
  return value.value
}
