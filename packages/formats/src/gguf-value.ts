import { isText, type Cursor, type What } from "./cursor.ts"
import { Texts, type TextList } from "./texts.ts"

/** Arrays of numbers by their element type. */
export interface GgufNumbers {
  readonly u8: Uint8Array
  readonly i8: Int8Array
  readonly u16: Uint16Array
  readonly i16: Int16Array
  readonly u32: Uint32Array
  readonly i32: Int32Array
  readonly f32: Float32Array
  readonly f64: Float64Array
  readonly u64: BigUint64Array
  readonly i64: BigInt64Array
}
const arrays: { readonly [T in keyof GgufNumbers]: new (buffer: ArrayBuffer) => GgufNumbers[T] } = {
  u8: Uint8Array, i8: Int8Array, u16: Uint16Array, i16: Int16Array, u32: Uint32Array, i32: Int32Array, f32: Float32Array, f64: Float64Array,
  u64: BigUint64Array, i64: BigInt64Array,
}

/** A metadata value with the type it has in the file. 64-bit integers are bigints. */
export type GgufValue =
  | { readonly [T in Exclude<keyof GgufNumbers, "u64" | "i64">]: { readonly type: T; readonly value: number } }[Exclude<keyof GgufNumbers, "u64" | "i64">]
  | { readonly type: "u64" | "i64"; readonly value: bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | GgufArray
/** An array: numbers as typed arrays; arrays in arrays one by one, each with its own type. */
export type GgufArray =
  | { readonly [T in keyof GgufNumbers]: { readonly type: "array"; readonly of: T; readonly value: GgufNumbers[T] } }[keyof GgufNumbers]
  | { readonly type: "array"; readonly of: "bool"; readonly value: readonly boolean[] }
  | { readonly type: "array"; readonly of: "string"; readonly value: readonly string[] }
  | { readonly type: "array"; readonly of: "array"; readonly value: readonly GgufArray[] }
export type GgufValueType = GgufValue["type"]

/** Types in the order of their numbers, and the bytes that a value takes at least. */
export const valueTypes = ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"] as const satisfies GgufValueType[]
const leastBytes: Record<GgufValueType, number> = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, bool: 1, string: 8, array: 12, u64: 8, i64: 8, f64: 8 }

/** Arrays in arrays in arrays …: nobody writes them, but a file might. */
const deepest = 16

export function readType(c: Cursor, what: string): GgufValueType {
  const at = c.at, id = c.u32(`the type of ${what}`)
  return valueTypes[id] ?? c.fail(at, `${what} has the unknown type ${id}`)
}
export const readString = (c: Cursor, what: string): string => c.text(c.u64(`the length of ${what}`), what)

/** Nothing is made before all are known to be there: a header may be read from ever longer beginnings of a file. */
function readTexts(c: Cursor, count: number, what: string): Texts {
  let i = 0
  const element: What = () => `element ${i} of ${what}`, length: What = () => `the length of ${element()}`
  const begin = c.at
  for (; i < count; i++) c.skip(c.length(length), element)
  const bytes = new Uint8Array(c.at - begin - 8 * count), ends = new Int32Array(count)
  let at = 0
  c.at = begin
  for (i = 0; i < count; i++) {
    const n = c.length(length)
    c.copy(n, bytes, at)
    // A text that begins within a character is none, even if what comes before makes it one.
    if (n > 0 && (bytes[at]! & 0xc0) === 0x80) c.fail(c.at - n, `${element()} is not valid UTF-8`)
    ends[i] = at += n
  }
  if (!isText(bytes)) {
    // One of them is at fault.
    c.at = begin
    for (i = 0; i < count; i++) c.text(c.length(length), element)
  }
  return new Texts(bytes, ends)
}

const textsOfArrays = new WeakMap<GgufArray, Texts>()
/** The strings of an array, without making those that nobody asks for. */
export const textsOf = (array: GgufArray & { readonly of: "string" }): TextList => textsOfArrays.get(array) ?? array.value
function arrayOfTexts(texts: Texts): GgufArray {
  let made: string[] | undefined
  const array: GgufArray = { type: "array", of: "string", get value() { return (made ??= texts.all()) } }
  textsOfArrays.set(array, texts)
  return array
}

export function readValue(c: Cursor, type: GgufValueType, what: string, depth = 0): GgufValue {
  switch (type) {
    case "array": return readArray(c, what, depth)
    case "string": return { type, value: readString(c, what) }
    case "bool": return { type, value: readBool(c, what) }
    case "u64": case "i64": return { type, value: c[type](what) }
    default: return { type, value: c[type](what) }
  }
}

function readBool(c: Cursor, what: string): boolean {
  const at = c.at, byte = c.u8(what)
  return byte > 1 ? c.fail(at, `${what} is ${byte}, but a bool is 0 or 1`) : byte === 1
}

function readArray(c: Cursor, what: string, depth: number): GgufArray {
  const begin = c.at
  if (depth > deepest) c.fail(begin, `${what} has arrays in arrays more than ${deepest} deep`)
  const of = readType(c, what)
  const count = c.expect(c.u64(`the length of ${what}`), leastBytes[of], what)
  const each = <T>(read: (name: string) => T): T[] => Array.from({ length: count }, (_, i) => read(`element ${i} of ${what}`))
  if (of === "string") return arrayOfTexts(readTexts(c, count, what))
  if (of === "bool") return { type: "array", of, value: each((name) => readBool(c, name)) }
  if (of === "array") return { type: "array", of, value: each((name) => readArray(c, name, depth + 1)) }
  // Copied: the bytes may lie anywhere, and belong to the file's beginning.
  const bytes = c.take(count * leastBytes[of], what).slice()
  return { type: "array", of, value: new arrays[of](bytes.buffer) } as GgufArray
}
