import { generator, uniform } from "./random.ts"
import * as reference from "./reference.ts"
import type { AttentionDims, Expected, TrainDims, TransformerLayer, Work, WorkOf } from "./work.ts"

const million = 1024 * 1024
const side = 4096
const extent = (rows: number, columns: number): string => (rows === columns ? `${rows}²` : `${rows}×${columns}`)
const halves = (values: Float32Array, half: boolean): Float32Array => (half ? new Float32Array(new Float16Array(values)) : values)
const millions = (size: number): string => (size < million ? String(size) : `${size / million}M`)
/** What works measured in ms have in common. */
const timed = { unit: "ms", amount: 1, runs: 1 } as const
const gigabytes = (values: number): number => (values * 4) / 1e9

export const works: readonly Work[] = [
  matmul(512),
  matmul(1024),
  matmul(2048),
  matvec(),
  q4(),
  gelu(),
  exp(),
  softmax(),
  layerNorm(),
  rmsNorm(),
  sum(0),
  sum(1),
  transpose(),
  train("sgd", 0.01),
  train("adam", 0.001),
  transformer(),
]

export function matmul(n: number, half = false): WorkOf<"matmul"> {
  const inputs = () => ({ a: halves(uniform(1, n * n), half), b: halves(uniform(2, n * n), half) })
  return {
    name: `matmul ${half ? "f16 " : ""}${n}`,
    op: "matmul",
    dims: { m: n, k: n, n, half },
    unit: "GFLOP/s",
    amount: (2 * n ** 3) / 1e9,
    runs: 1,
    // Sums kept in 16 bits are off by some hundredths of the result; that is said, not forbidden.
    tolerance: half ? 0.2 : 1e-4,
    inputs,
    expected() {
      const { a, b } = inputs()
      const cell = (index: number): number => {
        const [row, column] = [Math.floor(index / n), index % n]
        let total = 0
        for (let k = 0; k < n; k++) total += a[row * n + k] * b[k * n + column]
        return total
      }
      return cells(n * n, cell, Math.min(1 << 14, (1 << 25) / n))
    },
  }
}

export function matvec(rows = side, columns = side): WorkOf<"matvec"> {
  const inputs = () => ({ x: uniform(3, columns), w: uniform(4, rows * columns) })
  return {
    name: `matvec ${extent(rows, columns)}`,
    op: "matvec",
    dims: { rows, columns },
    ...timed,
    tolerance: 1e-4,
    inputs,
    expected() {
      const { x, w } = inputs()
      return whole(
        Float64Array.from(reference.rows(w, columns), (row) => row.reduce((total, value, i) => total + value * x[i], 0)),
      )
    },
  }
}

export function q4(rows = side, columns = side): WorkOf<"q4"> {
  const group = 32
  const inputs = () => {
    const next = generator(6)
    return {
      x: uniform(5, columns),
      codes: new Uint8Array(rows * columns).map(() => next() >>> 28),
      // 11 significant bits, so that scales kept as f16 are the same numbers
      scales: Float32Array.from({ length: (rows * columns) / group }, () => (1024 + (next() >>> 22)) / 2 ** 17),
    }
  }
  return {
    name: `q4 matvec ${extent(rows, columns)}`,
    op: "q4",
    dims: { rows, columns, group },
    ...timed,
    tolerance: 5e-2,
    inputs,
    expected() {
      const { x, codes, scales } = inputs()
      const out = new Float64Array(rows)
      codes.forEach((code, i) => (out[Math.floor(i / columns)] += x[i % columns] * (code - 8) * scales[Math.floor(i / group)]))
      return whole(out)
    },
  }
}

export function gelu(size = 4 * million): WorkOf<"gelu"> {
  const dims = { size, scale: 0.75, shift: 0.125 }
  const inputs = () => ({ x: uniform(7, dims.size, -4, 4) })
  return {
    name: `gelu(x·a+b) ${millions(size)}`,
    op: "gelu",
    dims,
    ...timed,
    tolerance: 1e-5,
    inputs,
    expected() {
      const { x } = inputs()
      return cells(dims.size, (index) => reference.gelu(x[index] * dims.scale + dims.shift))
    },
  }
}

export function exp(size = 4 * million): WorkOf<"exp"> {
  const inputs = () => ({ x: uniform(8, size, -4, 4) })
  return {
    name: `exp ${millions(size)}`,
    op: "exp",
    dims: { size },
    ...timed,
    tolerance: 1e-5,
    inputs,
    expected() {
      const { x } = inputs()
      return cells(x.length, (index) => Math.exp(x[index]))
    },
  }
}

export function softmax(rows = side, columns = side): WorkOf<"softmax"> {
  const inputs = () => ({ x: uniform(9, rows * columns, -4, 4) })
  return {
    name: `softmax ${extent(rows, columns)}`,
    op: "softmax",
    dims: { rows, columns },
    ...timed,
    tolerance: 1e-4,
    inputs,
    expected: () => lines(inputs().x, columns, reference.softmaxRow),
  }
}

export function layerNorm(rows = side, columns = side): WorkOf<"layerNorm"> {
  const epsilon = 1e-5
  const inputs = () => ({ x: uniform(10, rows * columns, -1, 3), scale: uniform(11, columns, 0.5, 1.5), shift: uniform(12, columns) })
  return {
    name: `layer norm ${extent(rows, columns)}`,
    op: "layerNorm",
    dims: { rows, columns, epsilon },
    ...timed,
    tolerance: 1e-4,
    inputs,
    expected() {
      const { x, scale, shift } = inputs()
      return lines(x, columns, (row) => reference.layerNormRow(row, scale, shift, epsilon))
    },
  }
}

export function rmsNorm(rows = side, columns = side): WorkOf<"rmsNorm"> {
  const epsilon = 1e-5
  const inputs = () => ({ x: uniform(13, rows * columns, -1, 3), scale: uniform(14, columns, 0.5, 1.5) })
  return {
    name: `rms norm ${extent(rows, columns)}`,
    op: "rmsNorm",
    dims: { rows, columns, epsilon },
    ...timed,
    tolerance: 1e-4,
    inputs,
    expected() {
      const { x, scale } = inputs()
      return lines(x, columns, (row) => reference.rmsNormRow(row, scale, epsilon))
    },
  }
}

function sum(axis: 0 | 1): WorkOf<"sum"> {
  const inputs = () => ({ x: uniform(15, side * side) })
  return {
    name: `sum ${side}² axis ${axis}`,
    op: "sum",
    dims: { rows: side, columns: side, axis },
    unit: "GB/s",
    amount: gigabytes(side * side),
    runs: 1,
    tolerance: 1e-4,
    inputs,
    expected() {
      const out = new Float64Array(side)
      inputs().x.forEach((value, i) => (out[axis === 0 ? i % side : Math.floor(i / side)] += value))
      return whole(out)
    },
  }
}

function transpose(): WorkOf<"transpose"> {
  const inputs = () => ({ x: uniform(16, side * side) })
  return {
    name: `transpose ${side}²`,
    op: "transpose",
    dims: { rows: side, columns: side },
    unit: "GB/s",
    amount: 2 * gigabytes(side * side),
    runs: 1,
    tolerance: 0,
    inputs,
    expected() {
      const { x } = inputs()
      return cells(x.length, (index) => x[(index % side) * side + Math.floor(index / side)])
    },
  }
}

export function attention(dims: AttentionDims): WorkOf<"attention"> {
  const { heads, size, queries, keys, half } = dims
  const inputs = () => ({
    q: halves(uniform(24, heads * queries * size), half),
    k: halves(uniform(25, heads * keys * size), half),
    v: halves(uniform(26, heads * keys * size), half),
  })
  return {
    name: `attention ${half ? "f16 " : ""}${heads}×${size}, ${queries} queries, ${keys} keys`,
    op: "attention",
    dims,
    ...timed,
    tolerance: half ? 5e-2 : 1e-4,
    inputs,
    expected() {
      const { q, k, v } = inputs()
      // Whole answers to some queries, from the first of the first head to the last of the last.
      return lines(q, size, (query, row) => {
        const head = Math.floor(row / queries) * keys * size, seen = queries === 1 ? keys : (row % queries) + 1
        return reference.attend(query, k.subarray(head, head + seen * size), v.subarray(head, head + seen * size))
      })
    },
  }
}

export function train(optimizer: TrainDims["optimizer"], rate: number, shape = { batch: 128, sizes: [784, 512, 512, 10] }): WorkOf<"train"> {
  const dims: TrainDims = { ...shape, optimizer, rate }, { batch, sizes } = shape, classes = sizes.at(-1)!
  const runs = 3
  const inputs = () => {
    const next = generator(18)
    const targets = new Float32Array(batch * classes)
    for (let row = 0; row < batch; row++) targets[row * classes + (next() % classes)] = 1
    const params = sizes.slice(1).flatMap((outputs, layer) => {
      const fanIn = sizes[layer]
      const bound = Math.sqrt(6 / fanIn)
      return [uniform(19 + layer, fanIn * outputs, -bound, bound), new Float32Array(outputs)]
    })
    return { x: uniform(17, batch * sizes[0], 0, 1), targets, params }
  }
  return {
    name: `MLP ${sizes.join("-")} ${optimizer} step, batch ${batch}`,
    op: "train",
    dims,
    ...timed,
    runs,
    tolerance: 5e-2,
    inputs,
    expected() {
      const { x, targets, params } = inputs()
      const trained = reference.train(dims, x, targets, params, runs)
      const before = reference.concatenated(params)
      return { ...whole(trained), scale: rootMeanSquare(trained.map((value, i) => value - before[i])) }
    },
  }
}

function transformer(): WorkOf<"transformer"> {
  const dims = { layers: 6, tokens: 256, width: 512, heads: 8, hidden: 2048, epsilon: 1e-5 }
  const { layers, tokens, width, hidden } = dims
  const weights = (seed: number, fanIn: number, outputs: number): Float32Array => {
    const bound = Math.sqrt(3 / fanIn)
    return uniform(seed, fanIn * outputs, -bound, bound)
  }
  const layer = (seed: number): TransformerLayer => ({
    norm1Scale: uniform(seed, width, 0.5, 1.5),
    norm1Shift: uniform(seed + 1, width, -0.5, 0.5),
    qkv: weights(seed + 2, width, 3 * width),
    out: weights(seed + 3, width, width),
    norm2Scale: uniform(seed + 4, width, 0.5, 1.5),
    norm2Shift: uniform(seed + 5, width, -0.5, 0.5),
    up: weights(seed + 6, width, hidden),
    upBias: uniform(seed + 7, hidden, -0.5, 0.5),
    down: weights(seed + 8, hidden, width),
    downBias: uniform(seed + 9, width, -0.5, 0.5),
  })
  const inputs = () => ({
    x: uniform(23, tokens * width),
    layers: Array.from({ length: layers }, (_, i) => layer(30 + 10 * i)),
  })
  return {
    name: "transformer forward 6×512, 256 tokens",
    op: "transformer",
    dims,
    ...timed,
    tolerance: 1e-3,
    inputs,
    expected() {
      const { x, layers } = inputs()
      return whole(reference.transformer(dims, x, layers))
    },
  }
}

const whole = (values: Float64Array): Expected => ({
  size: values.length,
  at: Uint32Array.from(values.keys()),
  values,
  scale: rootMeanSquare(values),
})

/** Single elements in every part of a result; the step is odd, so that no row or column of a tile is always missed. */
function cells(size: number, value: (index: number) => number, count = 1 << 14): Expected {
  const at = Uint32Array.from({ length: count }, (_, i) => (i * 2654435761) % size)
  const values = Float64Array.from(at, value)
  return { size, at, values, scale: rootMeanSquare(values) }
}

/** Some whole rows, from the first to the last. */
function lines(x: Float32Array, columns: number, value: (row: Float32Array, index: number) => Float64Array): Expected {
  const count = 64, last = x.length / columns - 1
  const rows = Array.from({ length: count }, (_, i) => Math.round((i * last) / (count - 1)))
  const at = Uint32Array.from({ length: count * columns }, (_, i) => rows[Math.floor(i / columns)] * columns + (i % columns))
  const values = reference.concatenated(rows.map((row) => value(x.subarray(row * columns, (row + 1) * columns), row)))
  return { size: x.length, at, values, scale: rootMeanSquare(values) }
}

function rootMeanSquare(values: Float64Array): number {
  return Math.sqrt(values.reduce((total, value) => total + value * value, 0) / values.length)
}
