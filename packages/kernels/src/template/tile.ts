// The innermost loop of matmul: a rows × columns tile of the product in registers, over one block of k.
import type { FunctionBuilder, Local } from "../emit/assembler.ts"
import type { Features } from "./holes.ts"

export interface TileShape {
  readonly rows: number
  readonly columns: number
}

/**
 * The largest tile that V8 keeps in registers. Revectorized, 4 rows × 16 columns are 8 accumulators, 2 columns of b
 * and one of a in 16 registers of 256 bits. Measured by bench/kernels/matmul.ts.
 */
export function tileShape({ relaxed, wide }: Features): TileShape {
  if (wide) return { rows: 4, columns: 16 }
  return relaxed ? { rows: 6, columns: 8 } : { rows: 4, columns: 8 }
}

export interface Tile extends TileShape {
  readonly relaxed: boolean
  /** Address of a[row 0][k 0]; rows are `aStride` bytes apart, neighbours in k 4 bytes. Overwritten. */
  readonly a: Local
  readonly aStride: number
  /** Address of b[k 0][column 0]; neighbours in k are `bStride` bytes apart. Overwritten. */
  readonly b: Local
  readonly bStride: number
  /** Address of a just behind the last k of row 0. */
  readonly aEnd: Local
  /** Address of the sums of row 0, `sumStride` bytes between rows; read (unless fresh: then they start at 0), written. */
  readonly sums: Local
  readonly sumStride: number
  readonly fresh: boolean
}

/**
 * sums += a · b. Each element is one chain of (fused) multiply-adds in the order of k, whatever the tile's shape, so that
 * full and partial tiles agree in every bit. Pairs of accumulators load and store adjacently: the revectorizer starts
 * from there. Not unrolled over k: that spills registers and halves the speed.
 */
export function emitTile(f: FunctionBuilder, tile: Tile): void {
  const { rows, columns, a, b, sums } = tile
  const vectors = columns / 4
  const accumulators = Array.from({ length: rows }, () => Array.from({ length: vectors }, () => f.local("v128")))
  const column = Array.from({ length: vectors }, () => f.local("v128"))
  const element = f.local("v128")
  const eachSum = (body: (accumulator: Local, offset: number) => void) =>
    accumulators.forEach((row, r) => row.forEach((accumulator, v) => body(accumulator, r * tile.sumStride + 16 * v)))

  eachSum((accumulator, offset) => {
    if (tile.fresh) f.f32x4(0)
    else { f.get(sums); f.load("v128.load", offset) }
    f.set(accumulator)
  })
  f.block((end) => {
    f.get(a)
    f.get(tile.aEnd)
    f.op("i32.ge_u")
    f.brIf(end)
    f.loop((again) => {
      column.forEach((local, v) => {
        f.get(b)
        f.load("v128.load", 16 * v)
        f.set(local)
      })
      accumulators.forEach((row, r) => {
        f.get(a)
        f.load("v128.load32_splat", r * tile.aStride)
        f.set(element)
        row.forEach((accumulator, v) => {
          multiplyAdd(f, tile.relaxed, () => f.get(element), () => f.get(column[v]!), accumulator)
        })
      })
      f.increment(b, tile.bStride)
      f.get(a)
      f.i32(4)
      f.op("i32.add")
      f.tee(a)
      f.get(tile.aEnd)
      f.op("i32.lt_u")
      f.brIf(again)
    })
  })
  eachSum((accumulator, offset) => {
    f.get(sums)
    f.get(accumulator)
    f.store("v128.store", offset)
  })
}

/** accumulator += x · y for four floats: fused where the engine can, two roundings elsewhere. */
export function multiplyAdd(f: FunctionBuilder, relaxed: boolean, x: () => void, y: () => void, accumulator: Local): void {
  if (relaxed) {
    x()
    y()
    f.get(accumulator)
    f.op("f32x4.relaxed_madd")
  } else {
    f.get(accumulator)
    x()
    y()
    f.op("f32x4.mul", "f32x4.add")
  }
  f.set(accumulator)
}
