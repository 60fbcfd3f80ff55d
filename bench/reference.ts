// The works in float64, written plainly: what every participant's result is compared with.
import { adam, type TrainDims, type TransformerDims, type TransformerLayer } from "./work.ts"

/** A Float32Array or Float64Array. */
interface Numbers extends ArrayLike<number> {
  subarray(begin: number, end: number): Numbers
  reduce(step: (total: number, value: number, index: number) => number, initial: number): number
}

/** a[m,k] · b[k,n] */
export function matmul(a: Numbers, b: Numbers, m: number, k: number, n: number): Float64Array {
  const out = new Float64Array(m * n)
  for (let i = 0; i < m; i++) {
    const row = out.subarray(i * n, (i + 1) * n)
    for (let p = 0; p < k; p++) {
      const factor = a[i * k + p]
      if (factor === 0) continue
      const from = p * n
      for (let j = 0; j < n; j++) row[j] += factor * b[from + j]
    }
  }
  return out
}

export function transposed(a: Numbers, rows: number, columns: number): Float64Array {
  const out = new Float64Array(rows * columns)
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = a[r * columns + c]
  return out
}

export const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))

export function softmaxRow(row: Numbers): Float64Array {
  const top = row.reduce((a, b) => Math.max(a, b), -Infinity)
  const out = Float64Array.from(row, (value) => Math.exp(value - top))
  const total = out.reduce((a, b) => a + b, 0)
  return out.map((value) => value / total)
}

export function layerNormRow(row: Numbers, scale: Numbers, shift: Numbers, epsilon: number): Float64Array {
  const mean = row.reduce((a, b) => a + b, 0) / row.length
  const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length
  return Float64Array.from(row, (value, i) => ((value - mean) / Math.sqrt(variance + epsilon)) * scale[i] + shift[i])
}

export function rmsNormRow(row: Numbers, scale: Numbers, epsilon: number): Float64Array {
  const square = row.reduce((sum, value) => sum + value * value, 0) / row.length
  return Float64Array.from(row, (value, i) => (value / Math.sqrt(square + epsilon)) * scale[i])
}

/** softmax(query·keysᵀ/√size)·values for one query. */
export function attend(query: Numbers, keys: Numbers, values: Numbers): Float64Array {
  const size = query.length
  const scores = Float64Array.from(rows(keys, size), (key) => key.reduce((total, value, i) => total + value * query[i], 0) / Math.sqrt(size))
  const out = new Float64Array(size)
  softmaxRow(scores).forEach((weight, key) => {
    for (let i = 0; i < size; i++) out[i] += weight * values[key * size + i]
  })
  return out
}

/** All parameters after `steps` steps on one batch. */
export function train(dims: TrainDims, x: Numbers, targets: Numbers, initial: Numbers[], steps: number): Float64Array {
  const params = initial.map((values) => Float64Array.from(values))
  const first = params.map((values) => new Float64Array(values.length))
  const second = params.map((values) => new Float64Array(values.length))
  for (let step = 1; step <= steps; step++) {
    gradients(dims, x, targets, params).forEach((gradient, p) => {
      gradient.forEach((g, i) => {
        if (dims.optimizer === "sgd") {
          params[p][i] -= dims.rate * g
          return
        }
        first[p][i] += (1 - adam.beta1) * (g - first[p][i])
        second[p][i] += (1 - adam.beta2) * (g * g - second[p][i])
        const mean = first[p][i] / (1 - adam.beta1 ** step)
        const square = second[p][i] / (1 - adam.beta2 ** step)
        params[p][i] -= (dims.rate * mean) / (Math.sqrt(square) + adam.epsilon)
      })
    })
  }
  return concatenated(params)
}

function gradients({ batch, sizes }: TrainDims, x: Numbers, targets: Numbers, params: Float64Array[]): Float64Array[] {
  const layers = sizes.length - 1
  const activations: Numbers[] = [x]
  for (let layer = 0; layer < layers; layer++) {
    const [inputs, outputs] = [sizes[layer], sizes[layer + 1]]
    const z = matmul(activations[layer], params[2 * layer], batch, inputs, outputs)
    const last = layer === layers - 1
    activations.push(
      z.map((value, i) =>
        last ? value + params[2 * layer + 1][i % outputs] : Math.max(0, value + params[2 * layer + 1][i % outputs]),
      ),
    )
  }
  const classes = sizes[layers]
  const logits = activations[layers]
  let dz = new Float64Array(batch * classes)
  for (let row = 0; row < batch; row++) {
    softmaxRow(logits.subarray(row * classes, (row + 1) * classes)).forEach((p, c) => {
      dz[row * classes + c] = (p - targets[row * classes + c]) / batch
    })
  }
  const out: Float64Array[] = []
  for (let layer = layers - 1; layer >= 0; layer--) {
    const [inputs, outputs] = [sizes[layer], sizes[layer + 1]]
    const input = activations[layer]
    const bias = new Float64Array(outputs)
    dz.forEach((value, i) => (bias[i % outputs] += value))
    out.unshift(matmul(transposed(input, batch, inputs), dz, inputs, batch, outputs), bias)
    const dx = matmul(dz, transposed(params[2 * layer], inputs, outputs), batch, outputs, inputs)
    dz = dx.map((value, i) => (input[i] > 0 ? value : 0))
  }
  return out
}

export function transformer(dims: TransformerDims, x: Numbers, layers: TransformerLayer[]): Float64Array {
  const { tokens, width, heads, hidden, epsilon } = dims
  const normalized = (values: Numbers, scale: Numbers, shift: Numbers): Float64Array =>
    concatenated(rows(values, width).map((row) => layerNormRow(row, scale, shift, epsilon)))
  let state = Float64Array.from(x)
  for (const layer of layers) {
    const qkv = matmul(normalized(state, layer.norm1Scale, layer.norm1Shift), layer.qkv, tokens, width, 3 * width)
    const mixed = matmul(attention(qkv, tokens, width, heads), layer.out, tokens, width, width)
    state = state.map((value, i) => value + mixed[i])
    const up = matmul(normalized(state, layer.norm2Scale, layer.norm2Shift), layer.up, tokens, width, hidden)
    const active = up.map((value, i) => gelu(value + layer.upBias[i % hidden]))
    const down = matmul(active, layer.down, tokens, hidden, width)
    state = state.map((value, i) => value + down[i] + layer.downBias[i % width])
  }
  return state
}

/** Causal attention; each row of `qkv` holds queries, keys and values of all heads side by side. */
function attention(qkv: Float64Array, tokens: number, width: number, heads: number): Float64Array {
  const size = width / heads
  const out = new Float64Array(tokens * width)
  const dot = (a: number, b: number): number => {
    let sum = 0
    for (let i = 0; i < size; i++) sum += qkv[a + i] * qkv[b + i]
    return sum
  }
  for (let head = 0; head < heads; head++) {
    const at = (token: number, part: number): number => token * 3 * width + part * width + head * size
    for (let t = 0; t < tokens; t++) {
      const scores = new Float64Array(t + 1).map((_, past) => dot(at(t, 0), at(past, 1)) / Math.sqrt(size))
      softmaxRow(scores).forEach((weight, past) => {
        for (let i = 0; i < size; i++) out[t * width + head * size + i] += weight * qkv[at(past, 2) + i]
      })
    }
  }
  return out
}

export const rows = (values: Numbers, columns: number): Numbers[] =>
  Array.from({ length: values.length / columns }, (_, r) => values.subarray(r * columns, (r + 1) * columns))

export function concatenated(parts: readonly Numbers[]): Float64Array {
  const out = new Float64Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}
