import { fail, linalg } from "@thimble/core"
import { architectureOf, expectedTensors, type Config, type Model, type Stores } from "@thimble/models"
import { foldPlan } from "../quantize/fold-norms.ts"
import { modelEdit } from "../quantize/model-edit.ts"
import { changeStream, refuseStream } from "../quantize/rotate.ts"
import type { Calibration } from "../recipe/calibration.ts"
import { modelStage } from "../recipe/model-stage.ts"
import { reshaped } from "../recipe/outline.ts"
import type { Outline, Stage } from "../recipe/stage.ts"
import { gram } from "../recipe/statistic.ts"
import { observe, streamOf } from "../recipe/stream.ts"

export interface SliceWidthOptions {
  /** How many features of the stream stay. */
  readonly keep?: number
  /** Or which share of them goes. */
  readonly share?: number
  /** What stays is a multiple of this, the nearest below; 1 unless given. */
  readonly multiple?: number
}

/**
 * A stage that makes the residual stream narrower: the model is written in the coordinates of the principal components of what
 * its norms give over the calibration data, and the least of them are left out (SliceGPT: Ashkboos et al., arXiv 2401.15024). One
 * rotation serves the whole stream, where the paper has one for each block and matrices between them: so it stays a model of its
 * architecture, and loses more. Its matrices are f32 then. Where all components stay, so do the logits.
 */
export function sliceWidth({ keep, share, multiple = 1 }: SliceWidthOptions): Stage & Stores<"kept"> {
  if ((keep === undefined) === (share === undefined)) fail("value", "sliceWidth", "needs either keep or a share", "sliceWidth({ share: 0.25 })")
  if (keep !== undefined && !(Number.isInteger(keep) && keep >= 1)) fail("value", "sliceWidth", `keep is a whole number from 1, got ${keep}`)
  if (share !== undefined && !(share >= 0 && share < 1)) fail("value", "sliceWidth", `a share is from 0 up to 1, got ${share}`)
  if (!(Number.isInteger(multiple) && multiple >= 1)) fail("value", "sliceWidth", `multiple must be a whole number from 1, got ${multiple}`)
  const widthOf = ({ width }: Config): number => {
    const left = keep ?? width - Math.floor(share! * width + 1e-9), whole = left === width ? left : left - (left % multiple)
    return whole >= 1 && whole <= width ? whole : fail("value", "sliceWidth", `${whole} of ${width} features cannot stay`)
  }
  return modelStage({
    kind: "sliceWidth",
    json: { ...(keep !== undefined && { keep }), ...(share !== undefined && { share }), multiple },
    lazily: true,
    needs: "the principal components of the stream are looked for",
    after(outline) {
      refuseStream("sliceWidth", outline.config)
      return afterSlicing(outline, widthOf(outline.config))
    },
    run: (model, { data, signal }) => sliced(model, data!, widthOf(model.config), signal),
  })
}

function afterSlicing(outline: Outline, width: number): Outline {
  const { embedding, head } = architectureOf(outline.config).names, untied = outline.config.tied && head !== undefined
  const after: Config = { ...outline.config, ...narrowed(outline.config, width), ...(untied && { tied: false }) }
  const matrices = new Map([...outline.matrices].map(([path, m]) => [path, untied && path === embedding ? { ...m, lookedUp: true } : m]))
  if (untied) matrices.set(head, outline.matrices.get(embedding!)!)
  for (const { path, kind, shape } of expectedTensors(after)) if (kind === "matrix") matrices.set(path, { ...matrices.get(path)!, shape: shape as [number, number], format: "f32", bytes: 4 * shape[0]! * shape[1]! })
  return reshaped(outline, after, matrices)
}

/** Norms take the mean of fewer squares, so what is added to it shrinks along; the factor that this makes is in their weights. */
const narrowed = ({ width: all, eps }: Config, width: number): Pick<Config, "width" | "eps"> => ({ width, eps: (eps * all) / width })

async function sliced(start: Model, data: Calibration, width: number, signal: AbortSignal | undefined): Promise<Model> {
  const model = await start.loaded(), { width: all } = model.config, plus = architectureOf(model.config).onePlus ? 1 : 0, held = new Set(Object.values(model.parts()))
  const { config, plan } = await foldPlan("sliceWidth", model), folding = modelEdit(model, config), stop = { ...(signal && { signal }) }
  plan(folding)
  const folded = await folding.run(stop)
  try {
    const q = await components(folded, data, width, signal), edit = modelEdit(folded, { ...config, ...narrowed(config, width) })
    const onRows = (v: Float64Array, rows: number): Float64Array => product(linalg.rowMajor(v, all), linalg.rowMajor(q, width), rows, width, all)
    changeStream(folded, config.tied, edit, {
      rows: (values, [rows]) => ({ values: onRows(values, rows), shape: [rows, width] }),
      columns: (values, [, columns]) => ({ values: product(linalg.viewTransposed(linalg.rowMajor(q, width)), linalg.rowMajor(values, columns), width, columns, all), shape: [width, columns] }),
      bias: (values) => onRows(values, 1),
    })
    // Folded norms multiply with nothing, and now with what their mean of fewer squares makes too much.
    for (const { name, kind, shape, role } of expectedTensors(folded.config)) if (kind === "norm" && shape[0] === all && role !== "queryNorm" && role !== "keyNorm") edit.vector(name, () => new Float64Array(width).fill(Math.sqrt(all / width) - plus))
    const small = await edit.run(stop), kept = new Set([...Object.values(start.parts()), ...Object.values(small.parts())])
    for (const t of held) if (!kept.has(t)) t.dispose()
    return small
  } finally {
    for (const t of Object.values(folded.parts())) if (!held.has(t)) t.dispose()
  }
}

/** The directions [width, keep] in which what norms give is largest, over all norms and tokens. */
async function components(model: Model, data: Calibration, keep: number, signal: AbortSignal | undefined): Promise<Float64Array> {
  const { width } = model.config, h = new Float64Array(width * width), stop = { ...(signal && { signal }) }
  let stream = await streamOf(model, data, signal)
  const take = async (part: Parameters<typeof observe>[1], paths: readonly string[]): Promise<void> => {
    const seen = await observe(stream, part, new Map(paths.map((path) => [path, [gram]])), stop)
    for (const path of paths) ((await seen.of(path).of(gram).data()) as Float32Array).forEach((v, i) => (h[i]! += v))
    seen.dispose()
  }
  try {
    for (const block of model.blocks()) {
      const norms = block.links.fold.filter(({ from }) => `${from.path}.weight` in model.vectors).map(({ into }) => into[0]!.path)
      await take((x, see) => block.forward(x, { observe: see }), norms)
      stream = await stream.through((x) => block.forward(x), signal)
    }
    const heads: string[] = []
    model.head(stream.batches[0]!, { observe: (path) => void heads.push(path) })
    await take((x, see) => model.head(x, { observe: see }), heads)
  } finally {
    stream.dispose()
  }
  const { vectors } = linalg.eigh(h, width), q = new Float64Array(width * keep)
  for (let i = 0; i < width; i++) for (let j = 0; j < keep; j++) q[i * keep + j] = vectors[i * width + width - 1 - j]!
  return q
}

function product(a: linalg.View, b: linalg.View, m: number, n: number, k: number): Float64Array {
  const out = new Float64Array(m * n)
  linalg.multiplyAdd(linalg.rowMajor(out, n), a, b, m, n, k)
  return out
}
