// jax-js consumes its arguments: `.ref` keeps a value for another use.
import { blockUntilReady, jit, nn, numpy as np, valueAndGrad } from "@jax-js/jax"
import type { Abilities, Ready } from "../peer.ts"
import { exchanged } from "../layout.ts"
import { adam, type TransformerDims, type TransformerLayer } from "../work.ts"

type Array = np.Array

const array = (data: Float32Array, ...shape: number[]): Array =>
  np.array(data as Float32Array<ArrayBuffer>).reshape(shape.length > 0 ? shape : [data.length])

export const abilities: Abilities = {
  matmul({ dims: { m, k, n, half }, inputs }) {
    const { a, b } = inputs()
    return ready((a, b) => np.matmul(a, b), stored(half, array(a, m, k)), stored(half, array(b, k, n)))
  },
  attention({ dims: { heads, size, queries, keys, half }, inputs }) {
    const { q, k, v } = inputs()
    const [left, middle, right] = ([[q, queries], [k, keys], [v, keys]] as const).map(([data, tokens]) =>
      stored(half, array(exchanged(data, heads, tokens, size), tokens, heads, size)),
    )
    const attend = ready((q, k, v) => nn.dotProductAttention(q, k, v, { isCausal: queries > 1 }), left, middle, right)
    return { ...attend, result: async () => exchanged(await attend.result(), queries, heads, size) }
  },
  matvec({ dims: { rows, columns }, inputs }) {
    const { x, w } = inputs()
    return ready((w, x) => np.matvec(w, x), array(w, rows, columns), array(x))
  },
  gelu: ({ dims: { scale, shift }, inputs }) => ready((x) => nn.gelu(x.mul(scale).add(shift)), array(inputs().x)),
  exp: ({ inputs }) => ready((x) => np.exp(x), array(inputs().x)),
  softmax: ({ dims: { rows, columns }, inputs }) => ready((x) => nn.softmax(x, -1), array(inputs().x, rows, columns)),
  layerNorm({ dims: { rows, columns, epsilon }, inputs }) {
    const { x, scale, shift } = inputs()
    return ready(
      (x, scale, shift) => layerNorm(x, scale, shift, epsilon),
      array(x, rows, columns),
      array(scale),
      array(shift),
    )
  },
  rmsNorm({ dims: { rows, columns, epsilon }, inputs }) {
    const { x, scale } = inputs()
    return ready(
      (x, scale) => {
        const square = np.mean(np.square(x.ref), -1, { keepdims: true })
        return x.div(np.sqrt(square.add(epsilon))).mul(scale)
      },
      array(x, rows, columns),
      array(scale),
    )
  },
  sum: ({ dims: { rows, columns, axis }, inputs }) => ready((x) => np.sum(x, axis), array(inputs().x, rows, columns)),
  transpose: ({ dims: { rows, columns }, inputs }) => ready((x) => np.transpose(x), array(inputs().x, rows, columns)),
  train({ dims: { batch, sizes, optimizer, rate }, inputs }) {
    const { x: values, targets: labels, params: initial } = inputs()
    const [x, targets] = [array(values, batch, sizes[0]), array(labels, batch, sizes.at(-1)!)]
    const loss = (params: Array[], x: Array, targets: Array): Array => {
      let state = x
      for (let i = 0; i < params.length; i += 2) {
        state = np.matmul(state, params[i]).add(params[i + 1])
        if (i + 2 < params.length) state = nn.relu(state)
      }
      return nn
        .logSoftmax(state, -1)
        .mul(targets)
        .sum()
        .mul(-1 / batch)
    }
    const gradients = (params: Array[], x: Array, targets: Array): Array[] => {
      const [value, gradients] = valueAndGrad(loss)(params, x, targets)
      value.dispose()
      return gradients
    }
    const sgd = jit((params: Array[], x: Array, targets: Array) =>
      gradients(
        params.map((value) => value.ref),
        x,
        targets,
      ).map((gradient, i) => params[i].sub(gradient.mul(rate))),
    )
    type State = { params: Array[]; first: Array[]; second: Array[] }
    const adamStep = jit(
      ({ params, first, second }: State, x: Array, targets: Array, correction1: Array, correction2: Array): State => {
        const computed = gradients(
          params.map((value) => value.ref),
          x,
          targets,
        )
        const next: State = { params: [], first: [], second: [] }
        computed.forEach((gradient, i) => {
          const mean = first[i].mul(adam.beta1).add(gradient.ref.mul(1 - adam.beta1))
          const square = second[i].mul(adam.beta2).add(np.square(gradient).mul(1 - adam.beta2))
          const update = mean.ref.div(correction1.ref).div(np.sqrt(square.ref.div(correction2.ref)).add(adam.epsilon))
          next.params.push(params[i].sub(update.mul(rate)))
          next.first.push(mean)
          next.second.push(square)
        })
        correction1.dispose()
        correction2.dispose()
        return next
      },
    )
    const params = initial.map((data, i) => (i % 2 ? array(data) : array(data, sizes[i >> 1], sizes[(i >> 1) + 1])))
    let state: State = {
      params,
      first: params.map((value) => np.zeros(value.shape)),
      second: params.map((value) => np.zeros(value.shape)),
    }
    let step = 0
    const begun: Begun[] = []
    return {
      async run() {
        step++
        await settle(begun)
        if (optimizer === "sgd") state.params = sgd(state.params, x.ref, targets.ref)
        else state = adamStep(state, x.ref, targets.ref, np.array(1 - adam.beta1 ** step), np.array(1 - adam.beta2 ** step))
        await begin(begun, state.params)
      },
      result: async () =>
        (await np.concatenate(state.params.map((value) => value.ref.reshape([-1]))).data()) as Float32Array,
      wait: () => all(begun),
      close: async () => {},
    }
  },
  transformer({ dims, inputs }) {
    const { x, layers } = inputs()
    const { tokens, width, hidden } = dims
    const weights = layers.map((layer) => ({
      norm1Scale: array(layer.norm1Scale),
      norm1Shift: array(layer.norm1Shift),
      qkv: array(layer.qkv, width, 3 * width),
      out: array(layer.out, width, width),
      norm2Scale: array(layer.norm2Scale),
      norm2Shift: array(layer.norm2Shift),
      up: array(layer.up, width, hidden),
      upBias: array(layer.upBias),
      down: array(layer.down, hidden, width),
      downBias: array(layer.downBias),
    }))
    const names = Object.keys(weights[0]) as (keyof TransformerLayer)[]
    const forward = (x: Array, ...flat: Array[]): Array =>
      weights.reduce((state, _, index) => {
        const layer = Object.fromEntries(names.map((name, i) => [name, flat[index * names.length + i]])) as Layer
        return block(state, layer, dims)
      }, x)
    return ready(forward, array(x, tokens, width), ...weights.flatMap((layer) => names.map((name) => layer[name])))
  },
}

type Layer = Record<keyof TransformerLayer, Array>

function block(state: Array, layer: Layer, { tokens, width, heads, epsilon }: TransformerDims): Array {
  const qkv = np.matmul(layerNorm(state.ref, layer.norm1Scale, layer.norm1Shift, epsilon), layer.qkv)
  const [queries, keys, values] = np.split(qkv, 3, 1).map((part) => part.reshape([tokens, heads, width / heads]))
  const mixed = nn.dotProductAttention(queries, keys, values, { isCausal: true }).reshape([tokens, width])
  const attended = state.add(np.matmul(mixed, layer.out))
  const up = np.matmul(layerNorm(attended.ref, layer.norm2Scale, layer.norm2Shift, epsilon), layer.up).add(layer.upBias)
  return attended.add(np.matmul(nn.gelu(up), layer.down).add(layer.downBias))
}

const layerNorm = (x: Array, scale: Array, shift: Array, epsilon: number): Array =>
  nn.standardize(x, -1, { epsilon }).mul(scale).add(shift)

const stored = (half: boolean, x: Array): Array => (half ? x.astype(np.float16) : x)

/** How many runs may be under way before another: none on a CPU. A run starts only when somebody waits for its result. */
export const underWay = { most: 0 }

interface Begun {
  values: Array[]
  done: Promise<unknown>
}

/** Makes room for one more run. */
async function settle(begun: Begun[]): Promise<void> {
  while (begun.length > underWay.most) {
    const { values, done } = begun.shift()!
    await done
    for (const value of values) value.dispose()
  }
}

/** Starts what computes `values`, and waits for it where nothing may be under way. */
async function begin(begun: Begun[], values: Array[]): Promise<void> {
  const held = values.map((value) => value.ref)
  const done = blockUntilReady(held)
  done.catch(() => {}) // whoever waits for it hears of it
  begun.push({ values: held, done })
  if (underWay.most === 0) await done
}

const all = async (begun: readonly Begun[]): Promise<void> => void (await Promise.all(begun.map(({ done }) => done)))

function ready(compute: (...inputs: Array[]) => Array, ...inputs: Array[]): Ready {
  const compiled = jit(compute)
  const begun: Begun[] = []
  return {
    async run() {
      await settle(begun)
      const y = compiled(...inputs.map((input) => input.ref))
      await begin(begun, [y])
      y.dispose()
    },
    wait: () => all(begun),
    result: async () => (await begun.at(-1)!.values[0].ref.astype(np.float32).data()) as Float32Array,
    async close() {
      await all(begun)
      for (const { values } of begun) for (const value of values) value.dispose()
    },
  }
}
