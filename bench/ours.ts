import { cat, compile, grad, quantizedWeight, realize, tensor, uploadParts, type Tensor } from "@thimble/core"
import { int } from "@thimble/compress"
import { open } from "@thimble/kernels"
import { prepareFrom, type Abilities, type Peer, type Ready } from "./peer.ts"
import { adam, type TransformerDims, type TransformerLayer } from "./work.ts"

/** What Thimble can do, on the device that was opened last. */
export const abilities: Abilities = {
  async matmul({ dims: { m, k, n, half }, inputs }) {
    const { a, b } = inputs()
    return ready((a, b) => a.matmul(b), ...(await stored(half, array(a, m, k), array(b, k, n))))
  },
  async attention({ dims: { heads, size, queries, keys, half }, inputs }) {
    const { q, k, v } = inputs(), causal = queries > 1
    const shaped = [array(q, 1, heads, queries, size), array(k, 1, heads, keys, size), array(v, 1, heads, keys, size)]
    return ready((q, k, v) => q.attention(k, v, { causal }), ...(await stored(half, ...shaped)))
  },
  matvec({ dims: { rows, columns }, inputs }) {
    const { x, w } = inputs()
    return ready((x, w) => x.linear(w), array(x, 1, columns), array(w, rows, columns))
  },
  q4({ dims: { rows, columns, group }, inputs }) {
    const { x, codes, scales } = inputs()
    const packed = new Uint8Array(codes.length / 2)
    codes.forEach((code, i) => (packed[(i >> 5) * 16 + (i & 15)] |= code << (i & 16 ? 4 : 0)))
    const parts = uploadParts({
      codes: { data: packed, shape: [rows, columns / 2], dtype: "u8" },
      scales: { data: new Uint16Array(Float16Array.from(scales).buffer), shape: [rows, columns / group], dtype: "f16" },
    })
    const weight = quantizedWeight(int(4, { group }), [rows, columns], parts, { activations: "int8" })
    return ready((x) => weight.apply(x), array(x, 1, columns))
  },
  gelu: ({ dims: { scale, shift }, inputs }) => ready((x) => x.mul(scale).add(shift).geluTanh(), array(inputs().x)),
  exp: ({ inputs }) => ready((x) => x.exp(), array(inputs().x)),
  softmax: ({ dims: { rows, columns }, inputs }) => ready((x) => x.softmax(), array(inputs().x, rows, columns)),
  layerNorm({ dims: { rows, columns, epsilon: eps }, inputs }) {
    const { x, scale, shift } = inputs()
    return ready(
      (x, scale, shift) => x.layerNorm(scale, shift, { eps }),
      array(x, rows, columns),
      array(scale),
      array(shift),
    )
  },
  rmsNorm({ dims: { rows, columns, epsilon: eps }, inputs }) {
    const { x, scale } = inputs()
    return ready((x, scale) => x.rmsNorm(scale, { eps }), array(x, rows, columns), array(scale))
  },
  sum: ({ dims: { rows, columns, axis }, inputs }) => ready((x) => x.sum({ axis }), array(inputs().x, rows, columns)),
  transpose: ({ dims: { rows, columns }, inputs }) => ready((x) => x.T, array(inputs().x, rows, columns)),
  train({ dims: { batch, sizes, optimizer, rate }, inputs }) {
    const data = inputs()
    const [x, targets] = [array(data.x, batch, sizes[0]), array(data.targets, batch, sizes.at(-1)!)]
    const gradients = (params: Tensor[], x: Tensor, targets: Tensor): Tensor[] => {
      let state = x
      for (let i = 0; i < params.length; i += 2) {
        state = state.matmul(params[i]).add(params[i + 1])
        if (i + 2 < params.length) state = state.relu()
      }
      return grad(
        state
          .logSoftmax()
          .mul(targets)
          .sum()
          .mul(-1 / batch),
        params,
      )
    }
    const sgd = compile<[State, Tensor, Tensor], State>(
      (state, x, targets) => {
        const descent = gradients(state.params, x, targets)
        return { ...state, params: state.params.map((value, i) => value.sub(descent[i].mul(rate))) }
      },
      { donate: [0] },
    )
    const adamStep = compile<[State, Tensor, Tensor, number, number], State>(
      (state, x, targets, correction1, correction2) => {
        const descent = gradients(state.params, x, targets)
        const first = state.first.map((mean, i) => mean.mul(adam.beta1).add(descent[i].mul(1 - adam.beta1)))
        const second = state.second.map((square, i) => square.mul(adam.beta2).add(descent[i].square().mul(1 - adam.beta2)))
        const params = state.params.map((value, i) => {
          const update = first[i].div(correction1).div(second[i].div(correction2).sqrt().add(adam.epsilon))
          return value.sub(update.mul(rate))
        })
        return { params, first, second }
      },
      { donate: [0] },
    )
    const params = data.params.map((values, i) =>
      array(values, ...(i % 2 ? [values.length] : [sizes[i >> 1], sizes[(i >> 1) + 1]])),
    )
    const moments = (): Tensor[] =>
      optimizer === "adam" ? data.params.map((values, i) => array(new Float32Array(values.length), ...params[i].shape)) : []
    let state: State = { params, first: moments(), second: moments() }
    let step = 0
    return {
      async run() {
        step++
        if (optimizer === "sgd") state = await sgd(state, x, targets)
        else state = await adamStep(state, x, targets, 1 - adam.beta1 ** step, 1 - adam.beta2 ** step)
      },
      result: async () => (await cat(state.params.map((value) => value.reshape([value.size]))).data()) as Float32Array,
      close: async () => {},
    }
  },
  transformer({ dims, inputs }) {
    const { x, layers } = inputs()
    const { tokens, width, hidden } = dims
    const weights = layers.map((layer): Layer => ({
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
    const future = Float32Array.from({ length: tokens * tokens }, (_, i) => (i % tokens > Math.floor(i / tokens) ? -1e9 : 0))
    const forward = compile<[Tensor, Layer[], Tensor], Tensor>((x, layers, mask) =>
      layers.reduce((state, layer) => block(state, layer, mask, dims), x),
    )
    const inputsOnDevice = [array(x, tokens, width), weights, array(future, tokens, tokens)] as const
    return running(() => forward(...inputsOnDevice))
  },
}

interface State {
  params: Tensor[]
  first: Tensor[]
  second: Tensor[]
}

type Layer = Record<keyof TransformerLayer, Tensor>

function block(state: Tensor, layer: Layer, mask: Tensor, { tokens, width, heads, epsilon: eps }: TransformerDims): Tensor {
  const size = width / heads
  const qkv = state.layerNorm(layer.norm1Scale, layer.norm1Shift, { eps }).matmul(layer.qkv)
  const [queries, keys, values] = qkv.chunk(3, 1).map((part) => part.reshape([tokens, heads, size]).transpose(0, 1))
  const scores = queries
    .matmul(keys.T)
    .mul(1 / Math.sqrt(size))
    .add(mask)
  const mixed = scores.softmax().matmul(values).transpose(0, 1).reshape([tokens, width])
  const attended = state.add(mixed.matmul(layer.out))
  const up = attended.layerNorm(layer.norm2Scale, layer.norm2Shift, { eps }).matmul(layer.up).add(layer.upBias)
  return attended.add(up.geluTanh().matmul(layer.down).add(layer.downBias))
}

const array = (data: Float32Array, ...shape: number[]): Tensor =>
  tensor(data, { shape: shape.length > 0 ? shape : [data.length] })

/** The same numbers as 16-bit floats, where those are asked for. */
async function stored(half: boolean, ...tensors: Tensor[]): Promise<Tensor[]> {
  if (!half) return tensors
  const narrow = tensors.map((t) => t.cast("f16"))
  await realize(...narrow)
  for (const t of tensors) t.dispose()
  return narrow
}

function ready(compute: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Ready {
  const compiled = compile<Tensor[], Tensor>(compute)
  return running(() => compiled(...inputs))
}

function running(compute: () => Promise<Tensor>): Ready {
  let y: Tensor | undefined
  return {
    async run() {
      y?.dispose()
      y = await compute()
    },
    result: async () => (await y!.cast("f32").data()) as Float32Array,
    close: async () => y?.dispose(),
  }
}

/** Thimble itself, on its CPU device, in the same shape as its peers. */
export const peer: Peer = {
  name: "thimble",
  async prepare(work, threads) {
    await open("wasm", { threads })
    return prepareFrom(abilities, work, threads)
  },
}
