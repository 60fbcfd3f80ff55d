import type { View } from "./view.ts"

// Block sizes after Goto & van de Geijn, "Anatomy of high-performance matrix multiplication" (2008):
// a packed block of A (96 × 256 doubles) stays in the second-level cache, a 256 × 4 strip of B in the first.
const ROWS = 96
const DEPTH = 256
const COLUMNS = 512
const packedA = new Float64Array(ROWS * DEPTH)
const packedB = new Float64Array(COLUMNS * DEPTH)
const tile = new Float64Array(16)

/** C += sign · A · B, with C m×n, A m×k, B k×n; C may overlap neither operand. Every fast path of this folder ends here. */
export function multiplyAdd(c: View, a: View, b: View, m: number, n: number, k: number, sign: 1 | -1 = 1): void {
  for (let l = 0; l < k; l += DEPTH) {
    const depth = Math.min(DEPTH, k - l)
    for (let j = 0; j < n; j += COLUMNS) {
      const columns = Math.min(COLUMNS, n - j)
      pack(packedB, b.data, b.at + l * b.row + j * b.column, b.column, b.row, columns, depth, 1)
      for (let i = 0; i < m; i += ROWS) {
        const rows = Math.min(ROWS, m - i)
        pack(packedA, a.data, a.at + i * a.row + l * a.column, a.row, a.column, rows, depth, sign)
        multiplyPacked(c, c.at + i * c.row + j * c.column, rows, columns, depth)
      }
    }
  }
}

/** Copies `count` vectors of length `depth` in strips of four, interleaved; the last strip is filled up with zeros. */
function pack(
  out: Float64Array, data: Float64Array, at: number, across: number, along: number, count: number, depth: number, sign: number,
): void {
  let o = 0
  for (let i = 0; i < count; i += 4) {
    const full = i + 4 <= count
    let p = at + i * across
    for (let l = 0; l < depth; l++, p += along, o += 4) {
      out[o] = sign * data[p]!
      out[o + 1] = full || i + 1 < count ? sign * data[p + across]! : 0
      out[o + 2] = full || i + 2 < count ? sign * data[p + 2 * across]! : 0
      out[o + 3] = full ? sign * data[p + 3 * across]! : 0
    }
  }
}

/** Adds the product of the two packed blocks to C at `at`. */
function multiplyPacked(c: View, at: number, rows: number, columns: number, depth: number): void {
  const { data, row, column } = c
  for (let j = 0; j < columns; j += 4) {
    const width = Math.min(4, columns - j)
    for (let i = 0; i < rows; i += 4) {
      multiplyTile(i * depth, j * depth, depth)
      const height = Math.min(4, rows - i)
      for (let r = 0; r < height; r++)
        for (let s = 0, p = at + (i + r) * row + j * column; s < width; s++, p += column) data[p]! += tile[r * 4 + s]!
    }
  }
}

/** tile = a 4×4 product of two packed strips: sixteen sums that stay in registers. */
function multiplyTile(atA: number, atB: number, depth: number): void {
  const a = packedA, b = packedB
  let c00 = 0, c01 = 0, c02 = 0, c03 = 0, c10 = 0, c11 = 0, c12 = 0, c13 = 0
  let c20 = 0, c21 = 0, c22 = 0, c23 = 0, c30 = 0, c31 = 0, c32 = 0, c33 = 0
  let p = atA | 0, q = atB | 0
  const end = p + depth * 4
  while (p < end) {
    const b0 = b[q]!, b1 = b[(q + 1) | 0]!, b2 = b[(q + 2) | 0]!, b3 = b[(q + 3) | 0]!
    const a0 = a[p]!
    c00 += a0 * b0; c01 += a0 * b1; c02 += a0 * b2; c03 += a0 * b3
    const a1 = a[(p + 1) | 0]!
    c10 += a1 * b0; c11 += a1 * b1; c12 += a1 * b2; c13 += a1 * b3
    const a2 = a[(p + 2) | 0]!
    c20 += a2 * b0; c21 += a2 * b1; c22 += a2 * b2; c23 += a2 * b3
    const a3 = a[(p + 3) | 0]!
    c30 += a3 * b0; c31 += a3 * b1; c32 += a3 * b2; c33 += a3 * b3
    p = (p + 4) | 0
    q = (q + 4) | 0
  }
  const t = tile
  t[0] = c00; t[1] = c01; t[2] = c02; t[3] = c03
  t[4] = c10; t[5] = c11; t[6] = c12; t[7] = c13
  t[8] = c20; t[9] = c21; t[10] = c22; t[11] = c23
  t[12] = c30; t[13] = c31; t[14] = c32; t[15] = c33
}
