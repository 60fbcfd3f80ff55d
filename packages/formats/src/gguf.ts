import { denseWeight, fail, quantizedWeight, showShape, sizeOf, type QuantizedOptions, type Tensor, type Weight } from "@thimble/core"
import { readHeader } from "./cursor.ts"
import { parseGguf, type GgufEntry } from "./gguf-header.ts"
import { ggufFormat, ggufTypes } from "./gguf-types.ts"
import type { GgufValue } from "./gguf-value.ts"
import { nearby } from "./nearby.ts"
import { openSource, type SourceLike, type SourceOptions } from "./source.ts"
import { Rooms, uploadBlocks, uploadRows, type StoredRows } from "./upload.ts"

export interface RowOptions {
  /** Where each row is in the file: row i of the result is row order[i] there. */
  readonly order?: Int32Array | undefined
}

/** An open file: its header is checked, its tensors are read when asked for. */
export interface GgufFile extends AsyncDisposable {
  readonly name: string
  readonly version: number
  /** Where tensors begin is a multiple of it. */
  readonly alignment: number
  /** Metadata by key, in the order of the file. */
  readonly metadata: ReadonlyMap<string, GgufValue>
  /** Tensors by name, in the order of the file. Shapes are row-major: [rows, columns] of a matrix that multiplies columns. */
  readonly entries: ReadonlyMap<string, GgufEntry>
  /** A tensor's stored bytes: blocks of its type, row after row. */
  bytes(name: string): Promise<Uint8Array>
  /** A tensor of a plain type on the current device. Blocks are read with {@link weight} or {@link bytes}. */
  tensor(name: string, options?: RowOptions): Promise<Tensor>
  /**
   * A matrix on the current device, stored as in the file: blocks stay packed, plain floats are a dense weight, for which
   * `activations` mean nothing.
   */
  weight(name: string, options?: QuantizedOptions & RowOptions): Promise<Weight>
  close(): Promise<void>
}

/** Opens a GGUF file of version 2 or 3 and checks its header against the file's size before anything is allocated. */
export async function openGguf(from: SourceLike, options: SourceOptions = {}): Promise<GgufFile> {
  const source = await openSource(from, options)
  try {
    const { name: file } = source
    const { version, alignment, metadata, entries } = await readHeader("gguf", source, (c) => parseGguf(c, source.bytes))
    const entry = (name: string): GgufEntry => entries.get(name) ?? fail("value", "gguf", `${file}: no tensor '${name}'`, nearby(name, entries.keys()))
    const bytes = async (name: string): Promise<Uint8Array> => source.read(entry(name).begin, entry(name).end)
    const rooms = new Rooms()
    const close = async (): Promise<void> => {
      rooms.close()
      await source.close()
    }
    const stored = (name: string, rows: number, order?: Int32Array): StoredRows => {
      const { begin, end } = entry(name)
      if (order !== undefined && order.length !== rows) fail("shape", "gguf", `an order of ${order.length} rows, but tensor '${name}' has ${rows}`)
      return { source, tensor: name, begin, rows, rowBytes: rows === 0 ? 0 : (end - begin) / rows, order }
    }
    const tensor = async (name: string, { order }: RowOptions = {}): Promise<Tensor> => {
      const { type, shape } = entry(name), { dtype } = ggufTypes[type]
      if (dtype === undefined) return fail("dtype", "gguf", `${file}: tensor '${name}' is ${type}, which no tensor holds`, "read it as a weight(), or its bytes()")
      return uploadRows(stored(name, order === undefined ? sizeOf(shape) : shape[0] ?? 1, order), shape, dtype, rooms)
    }
    const weight = async (name: string, { order, ...options }: QuantizedOptions & RowOptions = {}): Promise<Weight> => {
      const { type, shape } = entry(name), format = ggufFormat(type), [rows, columns] = shape
      if (format === undefined) return fail("dtype", "gguf", `${file}: tensor '${name}' is ${type}, which no weight is stored in`)
      if (rows === undefined || columns === undefined || shape.length !== 2) return fail("shape", "gguf", `${file}: tensor '${name}' is ${type}${showShape(shape)}, but a weight is [rows, columns]`)
      if (ggufTypes[type].dtype !== undefined) return denseWeight(await tensor(name, { order }))
      return quantizedWeight(format, [rows, columns], await uploadBlocks(stored(name, rows, order), format, columns, rooms), options)
    }
    return { name: file, version, alignment, metadata, entries, bytes, tensor, weight, close, [Symbol.asyncDispose]: close }
  } catch (e) {
    await source.close()
    throw e
  }
}
