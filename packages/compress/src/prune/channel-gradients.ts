import { abs, add, compile, crossEntropy, fail, full, grad, mul, narrow, reshape, sum, tensor, zeros, type Tensor, type Weight } from "@thimble/core"
import { architectureOf, type Model } from "@thimble/models"
import type { Calibration } from "../recipe/calibration.ts"

/** Positions of a batch that gradients flow through. */
const positions = 512

/** Σ over sequences of |∂L/∂ξ|, and of its square, where ξ multiplies what a channel adds: by block, by the group's name. */
export interface ChannelGradients { readonly taylor: Float64Array; readonly fisher: Float64Array }

/**
 * What the loss of predicting the next token says of each channel: a factor ξ = 1 stands at what each adds to the stream, and
 * ∂L/∂ξ is Σ w·∂L/∂w over its columns, the first-order change of the loss if it goes (Molchanov et al., arXiv 1611.06440;
 * heads: Michel et al., arXiv 1905.10650). Squares of it are the diagonal of the Fisher information.
 */
export async function channelGradients(model: Model, data: Calibration, signal?: AbortSignal): Promise<ReadonlyMap<number, ReadonlyMap<string, ChannelGradients>>> {
  if (architectureOf(model.config).bidirectional) fail("value", "channelGradients", `${model.config.architecture} predicts no next token`, "score by magnitude, wanda or outputs")
  if (data.length < 2) fail("shape", "channelGradients", "sequences of one token predict nothing")
  const gates = model.blocks().flatMap(({ layer, links }) => links.channels.flatMap((group) => group.columns.map((part) => ({ layer, group, path: part.path, columns: model.weights[part.path]!.shape[1] }))))
  const each = Math.max(1, Math.floor(positions / data.length)), kept = gates.map(({ group }) => [zeros([group.count]), zeros([group.count])] as const).flat() as Tensor[]
  const step = compile((kept: readonly Tensor[], ids: Tensor) => {
    const [batch, length] = ids.shape as [number, number], ones = gates.map((g) => full([batch, 1, g.columns], 1))
    const gated = model.with(Object.fromEntries(gates.map((g, i) => [g.path, gatedWeight(model.weights[g.path]!, ones[i]!)])))
    const logits = narrow(gated.forward(ids), 1, 0, length - 1), { vocabulary } = model.config
    const loss = crossEntropy(reshape(logits, [batch * (length - 1), vocabulary]), reshape(narrow(ids, 1, 1, length - 1), [batch * (length - 1)]), { reduction: "sum" })
    return grad(loss, ones).flatMap((g, i) => {
      const { count } = gates[i]!.group, own = sum(reshape(g, [batch, count, -1]), { axis: 2 })
      return [add(kept[2 * i]!, sum(abs(own), { axis: 0 })), add(kept[2 * i + 1]!, sum(mul(own, own), { axis: 0 }))]
    })
  })
  let sums = kept
  try {
    for (let i = 0; i < data.sequences.length; i += each) {
      signal?.throwIfAborted()
      const own = data.sequences.slice(i, i + each), flat = new Int32Array(own.length * data.length)
      own.forEach((s, j) => flat.set(s, j * data.length))
      using ids = tensor(flat, { shape: [own.length, data.length], dtype: "i32" })
      const next = await step(sums, ids)
      for (const t of sums) t.dispose()
      sums = next as Tensor[]
    }
    const found = new Map<number, Map<string, ChannelGradients>>()
    for (const [i, { layer, group }] of gates.entries()) {
      const [taylor, fisher] = [Float64Array.from((await sums[2 * i]!.data()) as Float32Array), Float64Array.from((await sums[2 * i + 1]!.data()) as Float32Array)]
      const own = found.get(layer) ?? found.set(layer, new Map()).get(layer)!
      own.set(group.name, { taylor, fisher })
    }
    return found
  } finally {
    for (const t of sums) t.dispose()
    step.dispose()
  }
}

/** A weight whose inputs are multiplied with a factor of each column's own. */
function gatedWeight(weight: Weight, gate: Tensor): Weight {
  return {
    form: `gated ${weight.form}`, shape: weight.shape, bytes: weight.bytes,
    apply: (x) => weight.apply(mul(x, gate)),
    rows: (ids) => weight.rows(ids), dense: () => weight.dense(), parts: () => weight.parts(),
    withParts: (parts) => gatedWeight(weight.withParts(parts), gate) as never,
  }
}
