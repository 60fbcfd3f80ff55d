import * as tf from "@tensorflow/tfjs-core"
import "@tensorflow/tfjs-layers" // registers the gradients that training needs
import type { Abilities, Ready } from "../peer.ts"
import { adam } from "../work.ts"

/** On whatever backend is set. */
export const abilities: Abilities = {
  matmul({ dims: { m, k, n, half }, inputs }) {
    if (half) return noHalves
    const { a, b } = inputs()
    const [left, right] = [tf.tensor2d(a, [m, k]), tf.tensor2d(b, [k, n])]
    return ready(() => tf.matMul(left, right))
  },
  matvec({ dims: { rows, columns }, inputs }) {
    const { x, w } = inputs()
    const [left, right] = [tf.tensor2d(x, [1, columns]), tf.tensor2d(w, [rows, columns])]
    return ready(() => tf.matMul(left, right, false, true))
  },
  gelu({ dims: { scale, shift }, inputs }) {
    const x = tf.tensor1d(inputs().x)
    return ready(() => gelu(tf.add(tf.mul(x, scale), shift)))
  },
  exp({ inputs }) {
    const x = tf.tensor1d(inputs().x)
    return ready(() => tf.exp(x))
  },
  softmax({ dims: { rows, columns }, inputs }) {
    const x = tf.tensor2d(inputs().x, [rows, columns])
    return ready(() => tf.softmax(x, -1))
  },
  layerNorm({ dims: { rows, columns, epsilon }, inputs }) {
    const { x: values, scale: scales, shift: shifts } = inputs()
    const [x, scale, shift] = [tf.tensor2d(values, [rows, columns]), tf.tensor1d(scales), tf.tensor1d(shifts)]
    return ready(() => layerNorm(x, scale, shift, epsilon))
  },
  rmsNorm({ dims: { rows, columns, epsilon }, inputs }) {
    const { x: values, scale: scales } = inputs()
    const [x, scale] = [tf.tensor2d(values, [rows, columns]), tf.tensor1d(scales)]
    return ready(() => tf.mul(normalized(x, epsilon), scale))
  },
  sum({ dims: { rows, columns, axis }, inputs }) {
    const x = tf.tensor2d(inputs().x, [rows, columns])
    return ready(() => tf.sum(x, axis))
  },
  transpose({ dims: { rows, columns }, inputs }) {
    const x = tf.tensor2d(inputs().x, [rows, columns])
    return ready(() => tf.transpose(x))
  },
  attention({ dims: { heads, size, queries, keys, half }, inputs }) {
    if (half) return noHalves
    const data = inputs()
    const [q, k, v] = [tf.tensor3d(data.q, [heads, queries, size]), tf.tensor3d(data.k, [heads, keys, size]), tf.tensor3d(data.v, [heads, keys, size])]
    const future = queries > 1 ? mask(keys) : undefined
    return ready(() => attention(q, k, v, size, future))
  },
  train({ dims: { batch, sizes, optimizer, rate }, inputs }) {
    const { x: values, targets: labels, params } = inputs()
    const [x, targets] = [tf.tensor2d(values, [batch, sizes[0]]), tf.tensor2d(labels, [batch, sizes.at(-1)!])]
    const variables = params.map((data, i) => {
      const layer = i >> 1
      return tf.variable<tf.Rank>(i % 2 ? tf.tensor1d(data) : tf.tensor2d(data, [sizes[layer], sizes[layer + 1]]))
    })
    const optimize = optimizer === "sgd" ? tf.train.sgd(rate) : tf.train.adam(rate, adam.beta1, adam.beta2, adam.epsilon)
    const loss = (): tf.Scalar => {
      let state: tf.Tensor = x
      for (let i = 0; i < variables.length; i += 2) {
        state = tf.add(tf.matMul(state, variables[i]), variables[i + 1])
        if (i + 2 < variables.length) state = tf.relu(state)
      }
      return tf.losses.softmaxCrossEntropy(targets, state)
    }
    return {
      run: async () => void optimize.minimize(loss),
      result: async () => (await tf.concat(variables.map((variable) => tf.reshape(variable, [-1]))).data()) as Float32Array,
      close: async () => tf.disposeVariables(),
    }
  },
  transformer({ dims: { tokens, width, heads, hidden, epsilon }, inputs }) {
    const { x: values, layers: weights } = inputs()
    const size = width / heads
    const x = tf.tensor2d(values, [tokens, width])
    const layers = weights.map((layer) => ({
      norm1: [tf.tensor1d(layer.norm1Scale), tf.tensor1d(layer.norm1Shift)],
      qkv: tf.tensor2d(layer.qkv, [width, 3 * width]),
      out: tf.tensor2d(layer.out, [width, width]),
      norm2: [tf.tensor1d(layer.norm2Scale), tf.tensor1d(layer.norm2Shift)],
      up: tf.tensor2d(layer.up, [width, hidden]),
      upBias: tf.tensor1d(layer.upBias),
      down: tf.tensor2d(layer.down, [hidden, width]),
      downBias: tf.tensor1d(layer.downBias),
    }))
    const future = mask(tokens)
    const perHead = (part: tf.Tensor): tf.Tensor => tf.transpose(tf.reshape(part, [tokens, heads, size]), [1, 0, 2])
    return ready(() =>
      layers.reduce<tf.Tensor>((state, layer) => {
        const qkv = tf.matMul(layerNorm(state, layer.norm1[0], layer.norm1[1], epsilon), layer.qkv)
        const [queries, keys, values] = tf.split(qkv, 3, 1).map(perHead)
        const mixed = tf.transpose(attention(queries, keys, values, size, future), [1, 0, 2])
        const attended = tf.add(state, tf.matMul(tf.reshape(mixed, [tokens, width]), layer.out))
        const up = tf.add(tf.matMul(layerNorm(attended, layer.norm2[0], layer.norm2[1], epsilon), layer.up), layer.upBias)
        return tf.add(attended, tf.add(tf.matMul(gelu(up), layer.down), layer.downBias))
      }, x),
    )
  },
}

const noHalves = { absent: "has no f16" }

/** What to add to scores, so that no query sees keys after its own. */
const mask = (tokens: number): tf.Tensor =>
  tf.tensor2d(Float32Array.from({ length: tokens * tokens }, (_, i) => (i % tokens > Math.floor(i / tokens) ? -1e9 : 0)), [tokens, tokens])

function attention(queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, size: number, future?: tf.Tensor): tf.Tensor {
  const scores = tf.mul(tf.matMul(queries, keys, false, true), 1 / Math.sqrt(size))
  return tf.matMul(tf.softmax(future === undefined ? scores : tf.add(scores, future), -1), values)
}

function gelu(x: tf.Tensor): tf.Tensor {
  const inner = tf.mul(tf.add(x, tf.mul(tf.mul(x, tf.mul(x, x)), 0.044715)), Math.sqrt(2 / Math.PI))
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1))
}

const normalized = (x: tf.Tensor, epsilon: number): tf.Tensor =>
  tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), epsilon)))

const layerNorm = (x: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, epsilon: number): tf.Tensor =>
  tf.add(tf.mul(normalized(tf.sub(x, tf.mean(x, -1, true)), epsilon), scale), shift)

/** The WASM backend computes at the call, so a run is over when `compute` returns; the WebGPU backend has queued it then, or is about to. */
function ready(compute: () => tf.Tensor): Ready {
  let y: tf.Tensor | undefined
  return {
    async run() {
      y?.dispose()
      y = tf.tidy(compute)
    },
    result: async () => (await y!.data()) as Float32Array,
    close: async () => y?.dispose(),
  }
}
