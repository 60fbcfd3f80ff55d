import { fail, linalg, showShape } from "@thimble/core"

/** H = (2/N)·Σ XᵀX over N batches of inputs, in float64: what GPTQ and SparseGPT ask of calibration. */
export interface Hessian {
  /** Adds a batch [tokens, columns], of any number of tokens. */
  add(inputs: Float32Array | Float64Array, tokens: number): void
  /** H so far, columns × columns, row-major. */
  matrix(): Float64Array
  readonly tokens: number
}

export function hessian(columns: number): Hessian {
  const sum = new Float64Array(columns * columns), { rowMajor, viewTransposed, viewFrom, multiplyAdd } = linalg
  let batches = 0, seen = 0
  return {
    add(inputs, tokens) {
      if (inputs.length !== tokens * columns) fail("shape", "hessian", `${inputs.length} values for ${showShape([tokens, columns])}`)
      const wrong = inputs.findIndex((v) => !Number.isFinite(v))
      if (wrong >= 0) fail("numeric", "hessian", `input ${wrong % columns} of token ${Math.floor(wrong / columns)} is ${inputs[wrong]}`, "a calibration batch that overflowed says nothing about the others")
      const x = rowMajor(Float64Array.from(inputs), columns), block = 128
      // The lower half; the upper one is its mirror image.
      for (let i = 0; i < columns; i += block) {
        const rows = Math.min(block, columns - i)
        multiplyAdd(viewFrom(rowMajor(sum, columns), i, 0), viewTransposed(viewFrom(x, 0, i)), x, rows, i + rows, tokens)
      }
      batches++
      seen += tokens
    },
    matrix() {
      const h = sum.map((v) => (batches === 0 ? 0 : (v * 2) / batches))
      for (let i = 0; i < columns; i++) for (let j = 0; j < i; j++) h[j * columns + i] = h[i * columns + j]!
      return h
    },
    get tokens() {
      return seen
    },
  }
}
