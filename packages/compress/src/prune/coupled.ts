import { fail, realize, take, tensor, type Tensor } from "@thimble/core"
import type { Coupling } from "./couplings.ts"

/** Tensors of a function of one's own, by the names that {@link traceCouplings} was given. */
export type Weights = Readonly<Record<string, Tensor>>

/** The norm of all elements that go with each channel. */
export async function coupledMagnitudes(weights: Weights, { count, axes }: Coupling): Promise<Float64Array> {
  const sums = new Float64Array(count)
  for (const { weight, axis, places } of axes) {
    const { data, inner, size } = await alongAxis(weights[weight]!, axis), channelOf = new Int32Array(size).fill(-1)
    places.forEach((own, channel) => own.forEach((p) => (channelOf[p] = channel)))
    data.forEach((v, i) => {
      const channel = channelOf[Math.floor(i / inner) % size]!
      if (channel >= 0) sums[channel]! += Number(v) ** 2
    })
  }
  return sums.map(Math.sqrt)
}

/** The weights without the channels that do not stay; what does not change is the same tensor. */
export async function keepCoupled<W extends Weights>(weights: W, coupling: Coupling, kept: readonly number[]): Promise<W> {
  const stays = checked(coupling, kept), made: Record<string, Tensor> = {}
  for (const { weight, axis, places } of coupling.axes) {
    const t = made[weight] ?? weights[weight]!, gone = new Set(places.filter((_, c) => !stays.has(c)).flat())
    using left = tensor(Int32Array.from({ length: t.shape[axis]! }, (_, i) => i).filter((i) => !gone.has(i)), { device: t.device })
    const next = take(t, left, axis)
    await realize(next)
    made[weight]?.dispose()
    made[weight] = next
  }
  return { ...weights, ...made }
}

/** The weights with zeros for the channels that do not stay, in the same shapes: unless the coupling is `whole`, functions give what they give of {@link keepCoupled}. */
export async function maskCoupled<W extends Weights>(weights: W, coupling: Coupling, kept: readonly number[]): Promise<W> {
  const stays = checked(coupling, kept), made: Record<string, Tensor> = {}
  for (const { weight, axis, places } of coupling.axes) {
    const t = made[weight] ?? weights[weight]!, { data, inner, size } = await alongAxis(t, axis), gone = new Set(places.filter((_, c) => !stays.has(c)).flat())
    made[weight]?.dispose()
    made[weight] = tensor(Float32Array.from(data, (v, i) => (gone.has(Math.floor(i / inner) % size) ? 0 : Number(v))), { shape: t.shape, device: t.device })
  }
  return { ...weights, ...made }
}

async function alongAxis(t: Tensor, axis: number): Promise<{ readonly data: Float32Array; readonly inner: number; readonly size: number }> {
  return { data: (await t.data()) as Float32Array, inner: t.shape.slice(axis + 1).reduce((a, b) => a * b, 1), size: t.shape[axis]! }
}

function checked({ count }: Coupling, kept: readonly number[]): ReadonlySet<number> {
  const stays = new Set(kept)
  return stays.size === kept.length && stays.size > 0 && kept.every((c) => Number.isInteger(c) && c >= 0 && c < count) ? stays : fail("index", "keepCoupled", `what stays are some of ${count} channels, each once, got [${kept.slice(0, 12).join(", ")}]`)
}
