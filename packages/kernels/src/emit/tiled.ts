// Elementwise kernels that read some operand across the output's rows (a transposition, x + yᵀ): what a cache line brings
// is used at once only if the output is made in square tiles. Each such operand is copied, transposed in registers, to a
// tile of scratch, and the kernel's expression reads it there.
import { bytesOf, expr, rewrite, type DType, type Expr } from "@thimble/core"
import type { FunctionBuilder, Local } from "./assembler.ts"
import { ExpressionStream, storeScalar, storeVector, type Environment } from "./expression.ts"
import { isVectorizable, loadsOf, rowAddress, strideOf, type MapPlan } from "./map.ts"
import { operand } from "./operand.ts"
import { i32s, minimum, split } from "../template/loops.ts"
import { emitPack } from "../template/pack.ts"
import type { Push } from "../template/holes.ts"

/** Edge of a tile: 256 bytes, four cache lines. */
const edge = 64
const tileBytes = edge * edge * 4
/** Operands with a tile each, at most. */
const tilesMaximum = 4

/** Undefined where no operand runs across the output. */
export function emitTiledMap(sizes: readonly number[], dtype: DType, value: Expr, environment: (f: FunctionBuilder) => Environment, threadScratch: Push): MapPlan | undefined {
  const axis = sizes.length - 1
  if (axis < 1 || sizes[axis]! < 8 || !isVectorizable(value)) return undefined
  const across = crossing(sizes, value)
  if (across === undefined) return undefined
  const { other, loads } = across
  // Tiles are parameters behind the kernel's own; their elements are addressed by the kernel's coordinates.
  const firstTile = 1 + Math.max(...loadsOf(value).map((l) => l.value))
  const inTile = expr.add(expr.mul(expr.index(other, sizes[other]!), expr.int(edge)), expr.index(axis, sizes[axis]!))
  const places = new Map(loads.map((l, i) => [l, expr.bitcast(expr.load(firstTile + i, "f32", inTile), l.type)]))
  const [body] = rewrite([value], (e) => places.get(e))
  const operands = loads.map((l) => expr.bitcast(l, "f32"))
  const rest = sizes.map((n, i) => (i === other || i === axis ? Math.ceil(n / edge) : n))
  const bytes = bytesOf(dtype)
  return {
    threadScratchBytes: loads.length * tileBytes,
    phase: {
      units: rest.reduce((a, b) => a * b, 1),
      emit(f, begin, end) {
        const own = environment(f)
        const coords = i32s(f, sizes.length), tiles = i32s(f, loads.length)
        const [unit, row, rowFrom, rowEnd, from, to, vectorEnd, out, at] = i32s(f, 9)
        const position = coords[axis]!
        const env: Environment = { ...own, parameters: [...own.parameters.slice(0, firstTile), ...tiles] }
        f.forRange(unit, begin, end, 1, () => {
          split(f, unit, rest.map((n, i): [Local, number] => [i === other ? rowFrom : i === axis ? from : coords[i]!, n]))
          for (const [first, last, n] of [[rowFrom, rowEnd, sizes[other]!], [from, to, sizes[axis]!]] as const) {
            f.get(first); f.scale(edge); f.set(first)
            minimum(f, last, () => f.address(first, edge, 1), n)
          }
          operands.forEach((e, i) => {
            const tile = tiles[i]!
            threadScratch(f); f.i32(i * tileBytes); f.op("i32.add"); f.set(tile)
            emitPack(f, { operand: operand(e, sizes, () => own), coords, inner: axis, innerRange: [from, to], group: 16, groupStride: 64,
              outer: other, outerRange: [rowFrom, rowEnd], outerStride: edge * 4, to: tile })
            // From here on, the address of what lies at coordinates 0, 0.
            f.get(tile); f.get(rowFrom); f.scale(edge); f.get(from); f.op("i32.add"); f.scale(4); f.op("i32.sub"); f.set(tile)
          })
          f.forRange(row, rowFrom, rowEnd, 1, () => {
            f.assign(coords[other]!, row)
            const stream = new ExpressionStream(f, env, axis, coords, position, [body!])
            rowAddress(f, own.parameters[0]!, coords, sizes, bytes, out)
            f.assign(position, from)
            for (const step of [16, 4]) {
              f.address(to, 1 - step, 1); f.set(vectorEnd)
              f.forRange(position, position, vectorEnd, step, () => {
                f.address(out, position, bytes)
                f.set(at)
                stream.vectors(body!, step / 4).forEach((local, i) => {
                  f.get(at)
                  f.get(local)
                  storeVector(f, dtype, 4 * i * bytes)
                })
              })
            }
            f.forRange(position, position, to, 1, () => {
              f.address(out, position, bytes)
              stream.value(body!, 1)
              storeScalar(f, dtype)
            })
          })
        })
      },
    },
  }
}

/** The axis, other than the last, along which most loads that are apart along the last one are adjacent, and those loads. */
function crossing(sizes: readonly number[], value: Expr): { other: number; loads: Expr[] } | undefined {
  const last = sizes.length - 1
  const apart = loadsOf(value).filter((l) => l.type !== "bool" && l.type !== "f64" && Math.abs(strideOf(l, last)) > 1)
  let best: { other: number; loads: Expr[] } | undefined
  for (let other = 0; other < last; other++) {
    const loads = apart.filter((l) => sizes[other]! >= 8 && strideOf(l, other) === 1)
    if (loads.length > 0 && loads.length <= tilesMaximum && loads.length > (best?.loads.length ?? 0)) best = { other, loads }
  }
  return best
}
