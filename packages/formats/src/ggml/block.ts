import { bytesOf, dtypes, expr, fail, showShape, type DType, type Expr, type Format, type Part, type PartReader } from "@thimble/core"

/** A run of equal elements within a block: what it is called, its type, how many. */
export type Field = readonly [name: string, dtype: DType, count: number]

/** Where an element is, for the decode expressions of blocks. Fields lie apart in memory, block after block. */
export interface Place {
  readonly column: Expr
  /** Number of the block of 32 neighbours along the row, and the place in it: what integer kernels step along. */
  readonly sub: Expr
  readonly lane: Expr
  /** Stored element `at` of a field, counted along the whole row, small integers as i32. */
  read(field: string, at: Expr): Expr
  /** The f32 that each block of `size` elements has in a field. */
  perBlock(field: string): Expr
  /** An entry of a table, as i32. */
  look(table: string, ...at: Expr[]): Expr
}

/**
 * Encodes one row of whole blocks. `weights` are the importances of its columns, if known; `out` are the bytes of the
 * row's blocks, zero at first.
 */
export type RowEncoder = (row: Float32Array, weights: Float32Array | undefined, out: Uint8Array) => void

/** A ggml type, as its rows in the tables of this folder state it. */
export interface BlockRow {
  /** Elements of a block, all neighbours along a row. */
  readonly size: number
  /** Neighbours that share a scale and a minimum. */
  readonly group: number
  /** The block's bytes in order. */
  readonly layout: readonly Field[]
  readonly tables?: Format["tables"]
  code(at: Place): Expr
  /** Subtracted from codes. */
  readonly zero?: number
  scale(at: Place): Expr
  min?(at: Place): Expr
  readonly encode?: RowEncoder
}

/** A format whose rows are sequences of fixed-size blocks, as files in ggml's types hold them. */
export interface BlockFormat extends Format {
  /** Elements and bytes of a block; rows are whole numbers of blocks. */
  readonly block: { readonly size: number; readonly bytes: number }
  /** Whether there is an encoder; some types are only read. */
  readonly encodes: boolean
  /** The parts that a matrix's blocks consist of: in `room`, if given, which has to have 64 bytes more than they. */
  split(blocks: Uint8Array, shape: readonly [rows: number, columns: number], room?: ArrayBuffer): Record<string, Part>
  /** The first block with a scale or minimum that is infinite or no number. */
  wrongBlock(parts: Readonly<Record<string, Part>>): number | undefined
  /** The blocks that parts make up: the inverse of `split`. */
  join(parts: Readonly<Record<string, Part>>, shape: readonly [rows: number, columns: number]): Uint8Array
}

/** What of a format splitting and joining need. */
interface Geometry extends Pick<BlockRow, "size" | "layout"> { readonly name: string; readonly bytes: number }

function countBlocks(op: string, { name, size }: Geometry, [rows, columns]: readonly [number, number]): number {
  if (columns % size !== 0) fail("shape", op, `${name} stores rows in blocks of ${size}, got ${showShape([rows, columns])} (${columns} % ${size} = ${columns % size})`, "another type, or f16, for this matrix")
  return rows * (columns / size)
}

/** Parts in a common memory begin at multiples of 8 bytes; no type has more than eight. */
export const roomToSplit = (bytes: number): number => bytes + 64

function splitBlocks(own: Geometry, blocks: Uint8Array, shape: readonly [number, number], room?: ArrayBuffer): Record<string, Part> {
  const { name, size, bytes, layout } = own, count = countBlocks("split", own, shape)
  if (blocks.byteLength !== count * bytes) fail("shape", "split", `${name}${showShape(shape)} takes ${count * bytes} bytes, got ${blocks.byteLength}`)
  const parts: Record<string, Part> = {}
  let offset = 0, begin = 0
  for (const [field, dtype, n] of layout) {
    const width = n * bytesOf(dtype)
    const to = room === undefined ? new Uint8Array(count * width) : new Uint8Array(room, begin, count * width)
    for (let b = 0, from = offset, at = 0; b < count; b++, from += bytes, at += width)
      for (let i = 0; i < width; i++) to[at + i] = blocks[from + i]!
    parts[field] = { data: new dtypes[dtype].array(to.buffer, to.byteOffset, count * n), shape: [shape[0], (shape[1] / size) * n], dtype }
    offset += width
    begin = Math.ceil((begin + to.length) / 8) * 8
  }
  return parts
}

function joinBlocks(own: Geometry, parts: Readonly<Record<string, Part>>, shape: readonly [number, number]): Uint8Array {
  const { name, bytes, layout } = own, count = countBlocks("join", own, shape)
  const blocks = new Uint8Array(count * bytes)
  let offset = 0
  for (const [field, dtype, n] of layout) {
    const width = n * bytesOf(dtype)
    const { data } = parts[field] ?? fail("value", "join", `${name} needs a part '${field}', got ${Object.keys(parts).join(", ")}`)
    if (data.byteLength !== count * width) fail("shape", "join", `part '${field}' of ${name}${showShape(shape)} takes ${count * width} bytes, got ${data.byteLength}`)
    const from = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    for (let b = 0, at = 0, to = offset; b < count; b++, at += width, to += bytes)
      for (let i = 0; i < width; i++) blocks[to + i] = from[at + i]!
    offset += width
  }
  return blocks
}

/** f16 scales times all that codes and small scales can be (65504 · 128 · 32 for Q6_K) end before it. */
const largestOfHalves = 2 ** 29

/** Refuses what a block would carry to all of its elements: values that are no numbers, or that no scale reaches. */
function checkValues({ name, layout }: Geometry, values: Float32Array, columns: number): void {
  const largest = layout.some(([, dtype]) => dtype === "f16") ? largestOfHalves : Number.MAX_VALUE
  // findIndex would take as long as some encoders.
  let wrong = 0
  while (wrong < values.length && Math.abs(values[wrong]!) <= largest) wrong++
  if (wrong < values.length) fail("value", "encode", `row ${Math.floor(wrong / columns)}, column ${wrong % columns} is ${values[wrong]}`, Number.isFinite(values[wrong]) ? `${name} does not reach that far` : "quantize finite weights")
}
/** What blocks store in f16 are scales and minima. */
function wrongBlock({ layout }: Geometry, parts: Readonly<Record<string, Part>>): number | undefined {
  for (const [field, dtype, n] of layout) {
    const wrong = dtype === "f16" ? parts[field]!.data.findIndex((bits) => (bits & 0x7c00) === 0x7c00) : -1
    if (wrong >= 0) return Math.floor(wrong / n)
  }
  return undefined
}
function checkScales(own: Geometry, parts: Readonly<Record<string, Part>>): void {
  const wrong = wrongBlock(own, parts)
  if (wrong !== undefined) fail("value", "encode", `block ${wrong} of ${own.name} reaches too far for an f16 scale`, "scale the weights down")
}

/** The format that a row of a table states. */
export function blockFormat(name: string, { size, group, layout, tables, code, zero, scale, min, encode }: BlockRow): BlockFormat {
  const bytes = layout.reduce((n, [, dtype, count]) => n + bytesOf(dtype) * count, 0)
  const own: Geometry = { name, size, bytes, layout }
  const at = (piece: (at: Place) => Expr) => (part: PartReader, row: Expr, column: Expr): Expr => {
    const { cast, div, int, rem } = expr
    const sub = div(column, int(32)), block = size < 32 ? div(column, int(size)) : div(sub, int(size / 32))
    // Small unsigned integers compute as signed ones.
    const integer = (e: Expr): Expr => (e.type === "u32" && e.high < 2 ** 31 ? cast(e, "i32") : e)
    const read = (field: string, element: Expr): Expr => integer(part(field, row, element))
    return piece({ column, sub, lane: rem(column, int(32)), read, perBlock: (field) => read(field, block), look: (table, ...entry) => integer(part(table, ...entry)) })
  }
  return {
    name, group, bits: (8 * bytes) / size,
    block: { size, bytes },
    encodes: encode !== undefined,
    ...(tables && { tables }),
    encode(values, shape, { importance } = {}) {
      if (encode === undefined) return fail("value", "encode", `${name} can be read, but has no encoder`)
      const blocks = new Uint8Array(countBlocks("encode", own, shape) * bytes), [rows, columns] = shape
      if (values.length !== rows * columns) fail("shape", "encode", `${values.length} values for ${showShape(shape)}`)
      if (importance !== undefined && importance.length !== columns) fail("shape", "encode", `${importance.length} importances for ${columns} columns`)
      // Plain floats hold whatever there is.
      if (group > 1) checkValues(own, values, columns)
      const stride = (columns / size) * bytes
      for (let r = 0; r < rows; r++) encode(values.subarray(r * columns, (r + 1) * columns), importance, blocks.subarray(r * stride, (r + 1) * stride))
      const parts = splitBlocks(own, blocks, shape)
      if (group > 1) checkScales(own, parts)
      return parts
    },
    code: at(code),
    ...(zero !== undefined && { zero: () => expr.int(zero) }),
    scale: at(scale),
    ...(min && { min: at(min) }),
    split: (blocks, shape, room) => splitBlocks(own, blocks, shape, room),
    wrongBlock: (parts) => (group > 1 ? wrongBlock(own, parts) : undefined),
    join: (parts, shape) => joinBlocks(own, parts, shape),
  }
}
