// Stored tensors on their way to the device: a piece at a time, through memory that the next piece uses again, so that what
// the host holds in between does not grow with them.
import { bytesOf, fail, tensorWriter, type DType, type Tensor, type TensorWriter } from "@thimble/core"
import { roomToSplit, type BlockFormat } from "./ggml/block.ts"
import type { Source } from "./source.ts"

/** Rows of equal size in a file. */
export interface StoredRows {
  readonly source: Pick<Source, "name" | "read">
  /** What errors call it. */
  readonly tensor: string
  /** Where it begins in the file. */
  readonly begin: number
  readonly rows: number
  readonly rowBytes: number
  /** Row i is wanted to be row order[i] of the file. */
  readonly order?: Int32Array | undefined
}

/** Large enough that reading is not slowed down, small enough to stay in a cache. */
const pieceBytes = 1 << 19
/** As many as one tensor needs at a time. */
const mostKept = 3

/** Memory that pieces pass through. */
export class Rooms {
  private readonly free: ArrayBuffer[] = []

  take(bytes: number): ArrayBuffer {
    const at = this.free.findIndex((room) => room.byteLength >= bytes)
    return at < 0 ? new ArrayBuffer(Math.max(bytes, roomToSplit(pieceBytes))) : this.free.splice(at, 1)[0]!
  }
  give(...rooms: readonly ArrayBuffer[]): void {
    for (const room of rooms) if (this.free.push(room) > mostKept) this.free.shift()
  }
  /** Gives their memory back at once, where the engine can; the collector would come late. */
  close(): void {
    for (const room of this.free.splice(0)) room.transfer?.(0)
  }
}

interface Piece { readonly first: number; readonly count: number; readonly bytes: Uint8Array }

/** A piece lasts until the next one is asked for. */
async function* piecesOf({ source, begin, rows, rowBytes, order }: StoredRows, rooms: Rooms): AsyncGenerator<Piece, void> {
  if (rows * rowBytes === 0) return
  // By fours, so that pieces are whole words.
  const most = Math.min(rows, Math.max(4, Math.floor(pieceBytes / rowBytes / 4) * 4))
  const piece = rooms.take(most * rowBytes), whole = order && rooms.take(rows * rowBytes)
  // Neighbours may come from anywhere.
  const all = whole && (await source.read(begin, begin + rows * rowBytes, new Uint8Array(whole)))
  for (let first = 0; first < rows; first += most) {
    const count = Math.min(most, rows - first)
    if (all === undefined) yield { first, count, bytes: await source.read(begin + first * rowBytes, begin + (first + count) * rowBytes, new Uint8Array(piece)) }
    else {
      const bytes = new Uint8Array(piece, 0, count * rowBytes)
      for (let i = 0, to = 0; i < count; i++) for (let b = 0, from = order![first + i]! * rowBytes; b < rowBytes; b++) bytes[to++] = all[from++]!
      yield { first, count, bytes }
    }
  }
  rooms.give(piece, ...(whole ? [whole] : []))
}

/** Brings elements that are stored as they are to the current device. `check` sees each piece, and where it begins in the tensor. */
export async function uploadRows(stored: StoredRows, shape: readonly number[], dtype: DType, rooms: Rooms, check?: (bytes: Uint8Array, at: number) => void): Promise<Tensor> {
  using writer = tensorWriter(shape, dtype)
  for await (const { first, bytes } of piecesOf(stored, rooms)) {
    check?.(bytes, first * stored.rowBytes)
    writer.write(bytes, first * stored.rowBytes)
  }
  return writer.done()
}

/** Brings a matrix of blocks to the current device, as the parts of its format. */
export async function uploadBlocks(stored: StoredRows, format: BlockFormat, columns: number, rooms: Rooms): Promise<Record<string, Tensor>> {
  const writers = new Map<string, TensorWriter>(), rowBytes = new Map<string, number>()
  const done: [string, Tensor][] = []
  try {
    // Of no rows there are parts, too.
    for (const [name, { shape, dtype }] of Object.entries(format.split(new Uint8Array(0), [0, columns]))) {
      rowBytes.set(name, shape[1]! * bytesOf(dtype))
      writers.set(name, tensorWriter([stored.rows, shape[1]!], dtype))
    }
    for await (const { first, count, bytes } of piecesOf(stored, rooms)) {
      const room = rooms.take(roomToSplit(bytes.length)), parts = format.split(bytes, [count, columns], room), wrong = format.wrongBlock(parts)
      if (wrong !== undefined) refuseBlock(stored, format, first * (columns / format.block.size) + wrong)
      for (const [name, { data }] of Object.entries(parts)) writers.get(name)!.write(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), first * rowBytes.get(name)!)
      rooms.give(room)
    }
    for (const [name, writer] of writers) done.push([name, writer.done()])
    return Object.fromEntries(done)
  } catch (e) {
    for (const [, tensor] of done) tensor.dispose()
    throw e
  } finally {
    for (const writer of writers.values()) writer[Symbol.dispose]()
  }
}

function refuseBlock({ source, tensor, begin, rowBytes, order }: StoredRows, { name, block }: BlockFormat, wanted: number): never {
  const perRow = rowBytes / block.bytes, row = Math.floor(wanted / perRow), inFile = (order?.[row] ?? row) * perRow + (wanted % perRow)
  return fail("format", "gguf", `${source.name}: tensor '${tensor}' has a scale that is no finite number, in block ${inFile} of ${name} (byte ${begin + inFile * block.bytes})`, "the weights were damaged, or overflowed when they were quantized")
}
