import { generator, uniform } from "./random.ts"
import * as reference from "./reference.ts"
import type { Expected, TrainDims, TransformerLayer, Work, WorkOf } from "./work.ts"

const million = 1024 * 1024
const side = 4096
const square = { rows: side, columns: side }
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

function matmul(n: number): WorkOf<"matmul"> {
  const inputs = () => ({ a: uniform(1, n * n), b: uniform(2, n * n) })
  return {
    name: `matmul ${n}`,
    op: "matmul",
    dims: { m: n, k: n, n },
    unit: "GFLOP/s",
    amount: (2 * n ** 3) / 1e9,
    runs: 1,
    tolerance: 1e-4,
    inputs,
    expected() {
      const { a, b } = inputs()
      return cells(n * n, (index) => {
        const [row, column] = [Math.floor(index / n), index % n]
        let total = 0
        for (let k = 0; k < n; k++) total += a[row * n + k] * b[k * n + column]
        return total
      })
    },
  }
}

function matvec(): WorkOf<"matvec"> {
  const inputs = () => ({ x: uniform(3, side), w: uniform(4, side * side) })
  return {
    name: `matvec ${side}²`,
    op: "matvec",
    dims: square,
    ...timed,
    tolerance: 1e-4,
    inputs,
    expected() {
      const { x, w } = inputs()
      return whole(
        Float64Array.from(reference.rows(w, side), (row) => row.reduce((total, value, i) => total + value * x[i], 0)),
      )
    },
  }
}

function q4(): WorkOf<"q4"> {
  const group = 32
  const inputs = () => {
    const next = generator(6)
    return {
      x: uniform(5, side),
      codes: Uint8Array.from({ length: side * side }, () => next() >>> 28),
      // 11 significant bits, so that scales kept as f16 are the same numbers
      scales: Float32Array.from({ length: (side * side) / group }, () => (1024 + (next() >>> 22)) / 2 ** 17),
    }
  }
  return {
    name: `q4 matvec ${side}²`,
    op: "q4",
    dims: { ...square, group },
    ...timed,
    tolerance: 5e-2,
    inputs,
    expected() {
      const { x, codes, scales } = inputs()
      const out = new Float64Array(side)
      codes.forEach((code, i) => (out[Math.floor(i / side)] += x[i % side] * (code - 8) * scales[Math.floor(i / group)]))
      return whole(out)
    },
  }
}

function gelu(): WorkOf<"gelu"> {
  const dims = { size: 4 * million, scale: 0.75, shift: 0.125 }
  const inputs = () => ({ x: uniform(7, dims.size, -4, 4) })
  return {
    name: "gelu(x·a+b) 4M",
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

function exp(): WorkOf<"exp"> {
  const inputs = () => ({ x: uniform(8, 4 * million, -4, 4) })
  return {
    name: "exp 4M",
    op: "exp",
    dims: { size: 4 * million },
    ...timed,
    tolerance: 1e-5,
    inputs,
    expected() {
      const { x } = inputs()
      return cells(x.length, (index) => Math.exp(x[index]))
    },
  }
}

function softmax(): WorkOf<"softmax"> {
  const inputs = () => ({ x: uniform(9, side * side, -4, 4) })
  return {
    name: `softmax ${side}²`,
    op: "softmax",
    dims: square,
    ...timed,
    tolerance: 1e-4,
    inputs,
    expected: () => lines(inputs().x, reference.softmaxRow),
  }
}

function layerNorm(): WorkOf<"layerNorm"> {
  const epsilon = 1e-5
  const inputs = () => ({ x: uniform(10, side * side, -1, 3), scale: uniform(11, side, 0.5, 1.5), shift: uniform(12, side) })
  return {
    name: `layer norm ${side}²`,
    op: "layerNorm",
    dims: { ...square, epsilon },
    ...timed,
    tolerance: 1e-4,
    inputs,
    expected() {
      const { x, scale, shift } = inputs()
      return lines(x, (row) => reference.layerNormRow(row, scale, shift, epsilon))
    },
  }
}

function rmsNorm(): WorkOf<"rmsNorm"> {
  const epsilon = 1e-5
  const inputs = () => ({ x: uniform(13, side * side, -1, 3), scale: uniform(14, side, 0.5, 1.5) })
  return {
    name: `rms norm ${side}²`,
    op: "rmsNorm",
    dims: { ...square, epsilon },
    ...timed,
    tolerance: 1e-4,
    inputs,
    expected() {
      const { x, scale } = inputs()
      return lines(x, (row) => reference.rmsNormRow(row, scale, epsilon))
    },
  }
}

function sum(axis: 0 | 1): WorkOf<"sum"> {
  const inputs = () => ({ x: uniform(15, side * side) })
  return {
    name: `sum ${side}² axis ${axis}`,
    op: "sum",
    dims: { ...square, axis },
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
    dims: square,
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

function train(optimizer: TrainDims["optimizer"], rate: number): WorkOf<"train"> {
  const dims: TrainDims = { batch: 128, sizes: [784, 512, 512, 10], optimizer, rate }
  const runs = 3
  const inputs = () => {
    const next = generator(18)
    const targets = new Float32Array(dims.batch * 10)
    for (let row = 0; row < dims.batch; row++) targets[row * 10 + (next() % 10)] = 1
    const params = dims.sizes.slice(1).flatMap((outputs, layer) => {
      const fanIn = dims.sizes[layer]
      const bound = Math.sqrt(6 / fanIn)
      return [uniform(19 + layer, fanIn * outputs, -bound, bound), new Float32Array(outputs)]
    })
    return { x: uniform(17, dims.batch * 784, 0, 1), targets, params }
  }
  return {
    name: `MLP 784-512-512-10 ${optimizer} step, batch 128`,
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
function cells(size: number, value: (index: number) => number): Expected {
  const at = Uint32Array.from({ length: 1 << 14 }, (_, i) => (i * 2654435761) % size)
  const values = Float64Array.from(at, value)
  return { size, at, values, scale: rootMeanSquare(values) }
}

/** Some whole rows, from the first to the last. */
function lines(x: Float32Array, value: (row: Float32Array) => Float64Array): Expected {
  const count = 64
  const at = Uint32Array.from(
    { length: count * side },
    (_, i) => Math.round((Math.floor(i / side) * (side - 1)) / (count - 1)) * side + (i % side),
  )
  const values = reference.concatenated(
    Array.from({ length: count }, (_, i) => value(x.subarray(at[i * side], at[i * side] + side))),
  )
  return { size: x.length, at, values, scale: rootMeanSquare(values) }
}

function rootMeanSquare(values: Float64Array): number {
  return Math.sqrt(values.reduce((total, value) => total + value * value, 0) / values.length)
}
