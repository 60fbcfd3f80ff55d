import type { Architecture } from "./architecture.ts"
import type { Config, Role } from "./config.ts"
import { blockShape } from "./shapes.ts"

/**
 * Where the rows of a module (matrix and bias) are in a GGUF file: row i there is row order[i] here. Undefined where they
 * are in the same order. Rows move as they are stored, so packed ones need not be decoded.
 */
export function ggufRowOrder(a: Architecture, config: Config, role: Role, layer = 0): Int32Array | undefined {
  const { headSize, rope } = config, { heads, kvHeads } = blockShape(config, layer)
  if (a.ggufPairs === "interleaved" && (role === "query" || role === "key") && rope !== undefined) {
    // Pairs i and i + n/2 of a head become neighbours.
    const half = headSize / 2
    return order((role === "query" ? heads : kvHeads) * headSize, (row) => {
      const within = row % headSize
      return row - within + (within % 2) * half + Math.floor(within / 2)
    })
  }
  if (a.fused === "heads" && role === "qkv") {
    // [head, 3, headSize] becomes [3, head, headSize].
    return order(3 * heads * headSize, (row) => {
      const part = Math.floor(row / (heads * headSize)), head = Math.floor(row / headSize) % heads
      return (3 * head + part) * headSize + (row % headSize)
    })
  }
  return undefined
}

const order = (rows: number, from: (row: number) => number): Int32Array => Int32Array.from({ length: rows }, (_, row) => from(row))

/** The order that undoes another. */
export function inverse(order: Int32Array): Int32Array {
  const back = new Int32Array(order.length)
  order.forEach((from, to) => (back[from] = to))
  return back
}

/** Rows of equal size in another order: row i of the result is row order[i]. */
export function reorderRows(bytes: Uint8Array, order: Int32Array): Uint8Array {
  const stride = bytes.length / order.length, out = new Uint8Array(bytes.length)
  order.forEach((from, to) => out.set(bytes.subarray(from * stride, (from + 1) * stride), to * stride))
  return out
}
