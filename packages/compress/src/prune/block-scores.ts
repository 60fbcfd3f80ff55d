import { compile, div, fail, maximum, mul, narrow, sqrt, sum, type Tensor } from "@thimble/core"
import type { Model } from "@thimble/models"
import type { Calibration } from "../recipe/calibration.ts"
import { streamOf } from "../recipe/stream.ts"

/** cos(x, y) of vectors along the last axis. */
const cosine = (x: Tensor, y: Tensor): Tensor => div(sum(mul(x, y), { axis: -1 }), maximum(mul(sqrt(sum(mul(x, x), { axis: -1 })), sqrt(sum(mul(y, y), { axis: -1 }))), 1e-30))

/**
 * How much each block changes the stream: 1 − cos(before, after), the mean over all calibration tokens (ShortGPT's block
 * influence, Men et al., arXiv 2403.03853).
 */
export async function blockInfluence(model: Model, data: Calibration, signal?: AbortSignal): Promise<Float64Array> {
  const blocks = model.blocks(), influence = new Float64Array(blocks.length)
  let stream = await streamOf(model, data, signal)
  try {
    for (const [i, block] of blocks.entries()) {
      const step = compile((x: Tensor) => sum(cosine(x, block.forward(x))))
      let total = 0
      for (const x of stream.batches) {
        signal?.throwIfAborted()
        using one = await step(x)
        total += Number((await one.data())[0])
      }
      step.dispose()
      influence[i] = 1 - total / data.tokens
      stream = await stream.through((x) => block.forward(x), signal)
    }
    return influence
  } finally {
    stream.dispose()
  }
}

/**
 * How far the stream turns over `count` blocks, by the first of them: arccos(cos)/π at the last token of each sequence, the mean
 * over sequences (Gromov et al., arXiv 2403.17887). [layers − count + 1].
 */
export async function angularDistances(model: Model, data: Calibration, count: number, signal?: AbortSignal): Promise<Float64Array> {
  const blocks = model.blocks(), { layers, width } = model.config
  if (!(Number.isInteger(count) && count >= 1 && count <= layers)) fail("value", "angularDistances", `runs of ${count} blocks of ${layers}`)
  const ends: Float64Array[] = []
  let stream = await streamOf(model, data, signal)
  const look = async (): Promise<void> => {
    const rows: number[] = []
    for (const x of stream.batches) {
      using last = narrow(x, 1, data.length - 1, 1)
      rows.push(...((await last.data()) as Float32Array))
    }
    ends.push(Float64Array.from(rows))
  }
  try {
    await look()
    for (const block of blocks) {
      stream = await stream.through((x) => block.forward(x), signal)
      await look()
    }
  } finally {
    stream.dispose()
  }
  return Float64Array.from({ length: layers - count + 1 }, (_, first) => {
    const a = ends[first]!, b = ends[first + count]!, rows = a.length / width
    let total = 0
    for (let r = 0; r < rows; r++) {
      let dot = 0, aa = 0, bb = 0
      for (let i = r * width; i < (r + 1) * width; i++) {
        dot += a[i]! * b[i]!
        aa += a[i]! * a[i]!
        bb += b[i]! * b[i]!
      }
      total += Math.acos(Math.max(-1, Math.min(1, dot / Math.max(1e-300, Math.sqrt(aa * bb))))) / Math.PI
    }
    return total / rows
  })
}
