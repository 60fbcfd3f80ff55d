/**
 * A rectangle of numbers inside an array: element (i, j) is `data[at + i·row + j·column]`. Strides may be negative.
 * Transposing and reversing a matrix are new strides, so one routine for lower triangles serves all eight triangular
 * solves. Inner loops never walk a stride: they work on packed copies.
 */
export interface View {
  readonly data: Float64Array
  readonly at: number
  readonly row: number
  readonly column: number
}

/** The whole of a row-major matrix with `columns` columns. */
export const rowMajor = (data: Float64Array, columns: number): View => ({ data, at: 0, row: columns, column: 1 })

/** The rectangle that begins at (i, j). */
export const from = (v: View, i: number, j: number): View => ({ ...v, at: v.at + i * v.row + j * v.column })

export const transposed = (v: View): View => ({ ...v, row: v.column, column: v.row })

/** Rows in reverse order, for a view of `rows` rows. */
export const upsideDown = (v: View, rows: number): View => ({ ...v, at: v.at + (rows - 1) * v.row, row: -v.row })

/** Rows and columns in reverse order, J·V·J: turns an n×n upper triangle into a lower one. */
export const reversed = (v: View, n: number): View => transposed(upsideDown(transposed(upsideDown(v, n)), n))

/** The m×n numbers of a view as a new row-major array. */
export function copyOf(v: View, m: number, n: number): Float64Array {
  const out = new Float64Array(m * n)
  for (let i = 0, o = 0; i < m; i++)
    for (let j = 0, p = v.at + i * v.row; j < n; j++, p += v.column) out[o++] = v.data[p]!
  return out
}

/** Writes an m×n row-major array into a view. */
export function copyInto(v: View, source: Float64Array, m: number, n: number): void {
  for (let i = 0, s = 0; i < m; i++)
    for (let j = 0, p = v.at + i * v.row; j < n; j++, p += v.column) v.data[p] = source[s++]!
}

/** The n×n identity. */
export function identity(n: number): Float64Array {
  const out = new Float64Array(n * n)
  for (let i = 0; i < n; i++) out[i * n + i] = 1
  return out
}
