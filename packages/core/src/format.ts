import type { TypedArray } from "./dtype.ts"
import { bytesOf, type DType } from "./dtype.ts"
import type { Device } from "./device.ts"
import { fail, showShape } from "./errors.ts"
import { add, cast, mul, sub, type Expr } from "./expr.ts"
import { fromBytes } from "./ops/create.ts"
import { sizeOf, type Shape } from "./shape.ts"
import { apply, type Op, type Tensor } from "./tensor.ts"

/** Reads an element of a stored part at its coordinates. */
export type PartReader = (part: string, ...coords: Expr[]) => Expr
/** Stored elements of one part, as the host holds them. */
export interface Part { readonly data: TypedArray; readonly shape: Shape; readonly dtype: DType }

export interface EncodeOptions {
  /**
   * How much each column matters: the mean square of what it is multiplied with (llama.cpp's importance matrix).
   * Encoders that search weigh their errors with it; the others leave it alone.
   */
  readonly importance?: Float32Array
}

/**
 * How the rows of a matrix are stored in few bits: one decode expression, ŵ = (code − zero) · scale + min, whose pieces
 * are stated separately so that integer kernels can use the codes. Everything else (dequantize, fused products,
 * embedding look-up, on every device) follows from it.
 */
export interface Format {
  readonly name: string
  /** Stored bits per weight, scales included, for long rows. */
  readonly bits: number
  /** Neighbours along a row that share a scale; Infinity for whole rows. */
  readonly group: number
  /** Stored parts of a row-major matrix. Normative: the same bytes everywhere. */
  encode(values: Float32Array, shape: readonly [rows: number, columns: number], options?: EncodeOptions): Record<string, Part>
  /** What the expressions look up besides stored parts (codebooks): parts of their own, the same for every matrix. */
  readonly tables?: Readonly<Record<string, Part>>
  /** Integer code (i32) of an element. Its bounds, as the expression states them, choose the integer kernel. */
  code(part: PartReader, row: Expr, column: Expr): Expr
  /** What is subtracted from the code (i32); nothing unless given. */
  zero?(part: PartReader, row: Expr, column: Expr): Expr
  /** Step between codes (f32), constant within a group. */
  scale(part: PartReader, row: Expr, column: Expr): Expr
  /** Value added (f32), constant within a group. */
  min?(part: PartReader, row: Expr, column: Expr): Expr
  /** How what is not zero lies in memory, where zeros are not stored: products then visit nothing else. */
  readonly sparse?: Listed | Masked
}

/** Elements that are not stored are zero; those that are lie in the order of their rows. */
interface Sparse {
  /** Value (f32) at a place, which belongs to `row`. */
  value(part: PartReader, row: Expr, place: Expr): Expr
}
/** Blocks of neighbouring elements, listed by rows of blocks: the elements of a block lie together, row by row. */
export interface Listed extends Sparse {
  readonly block: readonly [rows: number, columns: number]
  /** Number (i32) of the first block of a row of blocks; behind the last row, how many there are. */
  begin(part: PartReader, row: Expr): Expr
  /** Which column of blocks (i32) a block is in; they rise along a row. */
  column(part: PartReader, block: Expr): Expr
}
/** A bit per element tells whether it is stored. At least three places follow the last element. */
export interface Masked extends Sparse {
  /** How many of each four neighbours are stored, if that is always the same. */
  readonly ofFour?: number
  /** Place (i32) of the first stored element of a row. */
  begin(part: PartReader, row: Expr): Expr
  /** Bits (i32 or u32) of 32 neighbours of a row, the first lowest; 0 behind its end. */
  mask(part: PartReader, row: Expr, word: Expr): Expr
}

/** Refuses a format whose groups cannot be counted. */
export function checkFormat({ name, group }: Format): void {
  if (!(group === Infinity || (Number.isInteger(group) && group >= 1))) fail("value", "format", `${name} has a group of ${group}`, "neighbours are counted from 1, or Infinity for whole rows")
}

/** The decode expression of a format at one element. */
export function decodeAt(format: Format, part: PartReader, row: Expr, column: Expr): Expr {
  const code = format.code(part, row, column)
  const steps = format.zero ? sub(code, format.zero(part, row, column)) : code
  const value = mul(cast(steps, "f32"), format.scale(part, row, column))
  return format.min ? add(value, format.min(part, row, column)) : value
}

export interface Encoded { readonly format: Format; readonly shape: readonly [number, number]; readonly names: readonly string[] }

/** Turns reads of sources into reads of named parts. */
export const partReader = (names: readonly string[], first: number, read: (source: number, coords: readonly Expr[]) => Expr): PartReader =>
  (part, ...coords) => {
    const i = names.indexOf(part)
    return i < 0 ? fail("internal", "format", `no part '${part}' among ${names.join(", ")}`) : read(first + i, coords)
  }

const decodeOp: Op<Encoded> = {
  name: "decode",
  // Expanding weights to f32 would cost the memory that storing them in few bits saves.
  cheap: true,
  meaning: { at: (read, [row, column], _node, { format, names }) => decodeAt(format, partReader(names, 0, read), row!, column!) },
  result: (_, { shape }) => ({ shape, dtype: "f32" }),
  vjp: (_dy, _out, src) => src.map(() => null),
}
/** The matrix that stored parts stand for, lazily: read inside whatever kernel uses it. */
export const decodeParts = (encoded: Encoded, parts: readonly Tensor[]): Tensor => apply(decodeOp, parts, encoded)

/** Puts encoded parts on a device, the current one unless given. */
export function uploadParts(parts: Readonly<Record<string, Part>>, device?: Device): Record<string, Tensor> {
  return Object.fromEntries(Object.entries(parts).map(([name, { data, shape, dtype }]) => {
    if (data.length !== sizeOf(shape)) fail("shape", "format", `part ${name} has ${data.length} elements for ${showShape(shape)}`)
    return [name, fromBytes(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), shape, dtype, device)]
  }))
}

/** The parts of a matrix with the format's tables among them, on the device of the parts. */
export function withTables({ tables = {} }: Format, parts: Readonly<Record<string, Tensor>>): Readonly<Record<string, Tensor>> {
  const missing = Object.entries(tables).filter(([name]) => !(name in parts))
  return missing.length === 0 ? parts : { ...parts, ...uploadParts(Object.fromEntries(missing), Object.values(parts)[0]?.device) }
}

/** What a matrix takes by itself: its parts without the tables. */
export const partBytes = ({ tables = {} }: Format, parts: Readonly<Record<string, Tensor>>): number =>
  Object.entries(parts).reduce((n, [name, t]) => (name in tables ? n : n + t.size * bytesOf(t.dtype)), 0)
