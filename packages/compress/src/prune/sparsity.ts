import { fail, showShape } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"

/** So many of so many neighbours along a row stay: 2:4 is { keep: 2, of: 4 }. */
export interface KeepOf { readonly keep: number; readonly of: number }
/** What share of the weights becomes zero, or how many of neighbours stay. */
export type Sparsity = number | KeepOf

export function checkSparsity(op: string, sparsity: Sparsity): void {
  if (typeof sparsity === "number") {
    if (!(sparsity >= 0 && sparsity < 1)) fail("value", op, `a sparsity is from 0 up to 1, got ${sparsity}`)
  } else {
    const { keep, of } = sparsity
    if (!(Number.isInteger(of) && of >= 1 && Number.isInteger(keep) && keep >= 0 && keep <= of)) fail("value", op, `cannot keep ${keep} of ${of}`)
  }
}

/**
 * Which weights stay, 1, and which go, 0, by their scores [rows, columns]: of each row ⌊share·columns⌋ with the least scores go,
 * or of each run of neighbours all but the largest few; the last run of a row, if it is shorter, loses as many less as it
 * is shorter. Among equals the first go.
 */
export function keptByRow(scores: Float32Array | Float64Array, [rows, columns]: MatrixShape, sparsity: Sparsity): Uint8Array {
  checkSparsity("keptByRow", sparsity)
  if (scores.length !== rows * columns) fail("shape", "keptByRow", `${scores.length} scores for ${showShape([rows, columns])}`)
  const kept = new Uint8Array(rows * columns).fill(1)
  const size = typeof sparsity === "number" ? columns : sparsity.of, gone = typeof sparsity === "number" ? Math.floor(columns * sparsity) : sparsity.of - sparsity.keep
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c += size) {
      const from = r * columns + c, length = Math.min(size, columns - c)
      dropLeast(kept, from, scores, from, length, gone - (size - length))
    }
  return kept
}

/** Marks the least few of a run of scores as gone; among equals the first. The mark of the first score is at `at`. */
export function dropLeast(kept: Uint8Array, at: number, scores: Float32Array | Float64Array, from: number, length: number, count: number): void {
  if (length > 32) {
    for (const i of least(scores.subarray(from, from + length), count)) kept[at + i] = 0
    return
  }
  for (let c = 0; c < count; c++) {
    let next = -1
    for (let i = 0; i < length; i++) if (kept[at + i] === 1 && (next < 0 || scores[from + i]! < scores[from + next]!)) next = i
    kept[at + next] = 0
  }
}

export function least(values: Float32Array | Float64Array, count: number): Uint32Array {
  return Uint32Array.from(values.keys()).sort((a, b) => values[a]! - values[b]! || a - b).subarray(0, Math.max(0, count))
}

/** The value that stands at place k of the sorted ones, by Hoare's selection; reorders the values. */
export function ranked(values: Float64Array, k: number): number {
  for (let from = 0, to = values.length - 1; from < to;) {
    const pivot = values[(from + to) >> 1]!
    let i = from, j = to
    while (i <= j) {
      while (values[i]! < pivot) i++
      while (values[j]! > pivot) j--
      if (i > j) break
      const v = values[i]!
      values[i++] = values[j]!
      values[j--] = v
    }
    if (k <= j) to = j
    else if (k >= i) from = i
    else break
  }
  return values[k]!
}
