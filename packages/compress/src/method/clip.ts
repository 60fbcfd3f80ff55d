import { encodeRows } from "../parallel/encode-rows.ts"
import type { MatrixShape, QuantizedFormat } from "../quantizer.ts"
import { matrixOf, weightOf, type Matrix, type RoundOptions } from "../recipe/method.ts"

/** Shares of the largest magnitude that are tried: the whole of it, down to half. */
const shares = Array.from({ length: 10 }, (_, i) => 1 - i / 20)

/**
 * The range of each group of each row, shrunk to where the group's own part of the outputs changes least over inputs
 * [tokens, columns]: values beyond are cut off. Source: AWQ's clipping (arXiv 2306.00978), for any format.
 */
export async function clipped(format: QuantizedFormat, { path, values, shape }: Matrix, inputs: Float32Array, options: RoundOptions = {}): Promise<Float32Array> {
  const [rows, columns] = shape, size = Math.min(format.group, columns), perRow = Math.ceil(columns / size)
  const grams = Array.from({ length: perRow }, (_, g) => gramOf(inputs, columns, g * size, Math.min(columns, (g + 1) * size)))
  const most = new Float32Array(rows * perRow)
  values.forEach((v, i) => {
    const g = Math.floor(i / columns) * perRow + Math.floor((i % columns) / size)
    most[g] = Math.max(most[g]!, Math.abs(v))
  })
  const best = most.slice(), least = new Float64Array(rows * perRow).fill(Infinity), delta = new Float64Array(size)
  for (const share of shares) {
    const cut = cutOff(values, shape, size, most.map((m) => m * share)), back = await roundTrip(path, format, cut, shape, options)
    for (let r = 0; r < rows; r++)
      for (let g = 0; g < perRow; g++) {
        const from = r * columns + g * size, n = Math.min(size, columns - g * size), h = grams[g]!
        for (let i = 0; i < n; i++) delta[i] = values[from + i]! - back[from + i]!
        let error = 0
        for (let i = 0, at = 0; i < n; i++) {
          let sum = 0
          for (let j = 0; j < n; j++, at++) sum += h[at]! * delta[j]!
          error += sum * delta[i]!
        }
        if (error < least[r * perRow + g]!) {
          least[r * perRow + g] = error
          best[r * perRow + g] = most[r * perRow + g]! * share
        }
      }
  }
  return cutOff(values, shape, size, best)
}

/** XᵀX of some columns. */
function gramOf(x: Float32Array, columns: number, from: number, to: number): Float64Array {
  const n = to - from, h = new Float64Array(n * n)
  for (let t = 0; t < x.length; t += columns)
    for (let i = 0; i < n; i++) {
      const xi = x[t + from + i]!
      for (let j = 0; j < n; j++) h[i * n + j]! += xi * x[t + from + j]!
    }
  return h
}

function cutOff(values: Float32Array, [, columns]: readonly [number, number], size: number, ends: Float32Array): Float32Array {
  const perRow = Math.ceil(columns / size)
  return values.map((v, i) => {
    const end = ends[Math.floor(i / columns) * perRow + Math.floor((i % columns) / size)]!
    return v > end ? end : v < -end ? -end : v
  })
}

/** What is left of values when they are stored and read again, by the current device. */
async function roundTrip(path: string, format: QuantizedFormat, values: Float32Array, shape: MatrixShape, options: RoundOptions): Promise<Float32Array> {
  const weight = weightOf({ format, parts: await encodeRows(format, values, shape, options) }, shape)
  try {
    return (await matrixOf(path, weight)).values
  } finally {
    for (const t of Object.values(weight.parts())) t.dispose()
  }
}
