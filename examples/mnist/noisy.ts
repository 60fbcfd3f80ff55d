import { add, compile, random, realize, type Tensor } from "@thimble/core"
import type { Data, Network } from "@thimble/distill"
import { sha256 } from "@thimble/models"
import type { Layers } from "./networks.ts"

export interface NoiseOptions {
  /** Decides the noise. */
  readonly seed: number
  /** Of the noise that is added to each place. */
  readonly deviation: number
  /** Whoever says what the images show, before there is noise. */
  readonly teacher?: Network<Layers>
}

/** Images with noise, and what a teacher makes of them without (Noisy Student: Xie et al., 2019, arXiv:1911.04252). */
export function noisy(data: Data, { seed, deviation, teacher }: NoiseOptions): Data {
  const key = random.key(seed)
  const answered = teacher && compile((p: Layers, x: Tensor) => teacher.see(p, x, { wanted: ["top"], top: 10 }).top!)
  return {
    ...(data.batches !== undefined && { batches: data.batches }),
    id: async () => sha256(`noisy ${JSON.stringify([seed, deviation, teacher !== undefined])}`, await data.id()),
    async batch(index) {
      const given = await data.batch(index), top = teacher && await answered!(teacher.parameters, given.inputs)
      const inputs = add(given.inputs, random.normal(random.foldIn(key, index), given.inputs.shape, { std: deviation }))
      await realize(inputs)
      given.inputs.dispose()
      return { ...given, inputs, ...(top && { top }) }
    },
  }
}
