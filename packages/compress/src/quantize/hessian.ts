import { cat, compile, fail, linalg, realize, showShape, sliceAt, tensor, type Tensor } from "@thimble/core"

/** H = (2/N)·Σ XᵀX over N batches of inputs, in float64: what GPTQ and SparseGPT ask of calibration. */
export interface Hessian {
  /** Adds a batch [tokens, columns], of any number of tokens. */
  add(inputs: Float32Array | Float64Array, tokens: number): void
  /** H so far, columns × columns, row-major. */
  matrix(): Float64Array
  readonly tokens: number
}

/** Said of inputs that are no numbers. */
const hint = "a calibration batch that overflowed says nothing about the others"

export function hessian(columns: number): Hessian {
  const sum = new Float64Array(columns * columns), { rowMajor, viewTransposed, viewFrom, multiplyAdd } = linalg
  let batches = 0, seen = 0
  return {
    add(inputs, tokens) {
      if (inputs.length !== tokens * columns) fail("shape", "hessian", `${inputs.length} values for ${showShape([tokens, columns])}`)
      refuse(inputs, columns)
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

/** {@link Hessian} in f32, on the device of the inputs. */
export interface DeviceHessian {
  /** Adds a batch [..., columns]; the leading axes are tokens. */
  add(inputs: Tensor): Promise<void>
  /** H so far, [columns, columns]; the caller's to dispose. */
  matrix(): Promise<Tensor>
  readonly tokens: number
  /** Releases the sums. */
  dispose(): void
}

/** Rows, and columns, of H that are summed by one product: all of one shape, so that one kernel serves them. */
const tile = 512
const addTo = compile((sum: Tensor, x: Tensor, row: Tensor, column: Tensor) => {
  const [rows, columns] = sum.shape as [number, number]
  return sum.add(sliceAt(x, { axis: 1, start: row, length: rows }).T.matmul(sliceAt(x, { axis: 1, start: column, length: columns })))
}, { donate: [0] })
const finite = compile((x: Tensor) => x.isFinite().all())

export function hessianOnDevice(columns: number): DeviceHessian {
  // Tiles of the lower half, row by row; the upper one is its mirror image.
  const sums: Tensor[][] = [], sizes = Array.from({ length: Math.ceil(columns / tile) }, (_, i) => Math.min(tile, columns - i * tile))
  let batches = 0, seen = 0
  return {
    async add(inputs) {
      if (inputs.shape.at(-1) !== columns) fail("shape", "hessian", `inputs ${showShape(inputs.shape)} for ${columns} columns`)
      const x = inputs.reshape([inputs.size / Math.max(1, columns), columns]).cast("f32"), ok = await finite(x)
      if ((await ok.data())[0] === 0) refuse((await x.data()) as Float32Array, columns)
      ok.dispose()
      for (let i = 0; i < sizes.length; i++) {
        const row = (sums[i] ??= [])
        for (let j = 0; j <= i; j++) {
          const [m, n] = [sizes[i]!, sizes[j]!]
          row[j] = await addTo(row[j] ?? tensor(new Float32Array(m * n), { shape: [m, n], device: x.device }), x, BigInt(i * tile), BigInt(j * tile))
        }
      }
      if (x !== inputs) x.dispose()
      batches++
      seen += x.shape[0]!
    },
    async matrix() {
      if (sums.length === 0) return tensor(new Float32Array(columns * columns), { shape: [columns, columns] })
      const rows = sizes.map((_, i) => cat(sizes.map((_, j) => (j <= i ? sums[i]![j]! : sums[j]![i]!.T).mul(2 / batches)), 1))
      await realize(...rows)
      const h = rows.length === 1 ? rows[0]! : cat(rows)
      await realize(h)
      if (rows.length > 1) for (const r of rows) r.dispose()
      return h
    },
    get tokens() {
      return seen
    },
    dispose() {
      for (const s of sums.flat()) s.dispose()
      sums.length = 0
    },
  }
}

function refuse(inputs: Float32Array | Float64Array, columns: number): void {
  for (let i = 0; i < inputs.length; i++) {
    const v = inputs[i]!
    if (v - v !== 0) fail("numeric", "hessian", `input ${i % columns} of token ${Math.floor(i / columns)} is ${v}`, hint)
  }
}
