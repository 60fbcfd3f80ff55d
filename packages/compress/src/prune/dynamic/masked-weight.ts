import { castTo, customVjp, denseWeight, fail, linear, mul, realize, take, tensor, where, type Tensor, type Weight } from "@thimble/core"
import { weightOf } from "../../recipe/method.ts"
import type { FakeWeight } from "../../quantize/fake-weight.ts"
import type { Matrices } from "../../quantize/qat.ts"
import { stored, type Store } from "../store.ts"

export interface MaskOptions {
  /**
   * Which values a gradient reaches: those of weights that stay (`kept`, unless given); or `all`, as if none had gone, for rules that
   * let weights come back.
   */
  readonly gradient?: "kept" | "all"
}

/** A matrix of which some weights have gone, whatever becomes of their values: they stay zero while it trains. */
export interface MaskedWeight extends FakeWeight {
  readonly mask: Tensor
}
export const isMasked = (weight: Weight): weight is MaskedWeight => "mask" in weight

/** Values [rows, columns] of a trainable matrix, and which of them count (bool). The mask is no float: optimizers leave it alone. */
export function maskedWeight(values: Tensor, mask: Tensor, { gradient = "kept" }: MaskOptions = {}): MaskedWeight {
  if (mask.dtype !== "bool" || mask.shape.join() !== values.shape.join() || values.rank !== 2) fail("shape", "maskedWeight", `a mask is bool of the matrix's shape, got ${mask.dtype}[${mask.shape.join()}] for [${values.shape.join()}]`)
  if (gradient !== "kept" && gradient !== "all") fail("value", "maskedWeight", `gradient must be kept or all, got ${String(gradient)}`)
  let made: Tensor | undefined
  const masked = (): Tensor => (gradient === "kept" ? where(mask, values, 0) : customVjp((v, m) => where(m!, v!, 0), (dy) => [dy, null])(values, mask))
  const dense = (): Tensor => (made === undefined || made.disposed ? (made = masked()) : made)
  return {
    form: `masked[${values.shape.join()}] ${gradient}`,
    shape: values.shape as [number, number],
    bytes: values.bytes + mask.bytes,
    mask,
    apply: (x) => linear(x, dense()),
    rows: (ids) => take(dense(), ids, 0),
    dense,
    parts: () => ({ values, mask }),
    withParts: (parts) => maskedWeight(parts.values!, parts.mask!, { gradient }) as never,
    async stored() {
      const left = masked()
      await realize(left)
      return denseWeight(left)
    },
  }
}

/** Which weights stay, 1, by matrix. */
export type Masks = Readonly<Record<string, Uint8Array>>

/** A model for training whose matrices have masks; it shares no memory with the one it was made from. Matrices without one train as they are. */
export function maskModel<M extends Matrices<M>>(model: M, masks: Masks, options: MaskOptions = {}): M {
  const unknown = Object.keys(masks).find((path) => model.weights[path] === undefined)
  if (unknown !== undefined) fail("value", "maskModel", `there is no matrix '${unknown}'`, `names are like '${Object.keys(model.weights)[0]}'`)
  const changed: Record<string, Weight | Tensor> = {}
  for (const [path, weight] of Object.entries(model.weights)) {
    const values = mul(castTo(weight.dense(), "f32"), 1), mask = masks[path]
    if (mask !== undefined && mask.length !== values.size) fail("shape", "maskModel", `${mask.length} places for ${values.size} weights of ${path}`)
    changed[path] = mask === undefined ? denseWeight(values) : maskedWeight(values, tensor(mask, { shape: [...weight.shape], dtype: "bool", device: values.device }), options)
  }
  for (const [name, t] of Object.entries(model.vectors)) changed[name] = mul(castTo(t, "f32"), 1)
  return model.with(changed)
}

/** Masks that keep what is not zero: with them a pruned model stays as sparse as it is while it is tuned. */
export async function masksOf<M extends Matrices<M>>(model: M, paths: readonly string[] = Object.keys(model.weights)): Promise<Record<string, Uint8Array>> {
  const masks: Record<string, Uint8Array> = {}
  for (const path of paths) {
    const weight = model.weights[path] ?? fail("value", "masksOf", `there is no matrix '${path}'`)
    masks[path] = Uint8Array.from((await (isMasked(weight) ? weight.mask : weight.dense()).data()) as ArrayLike<number>, (v) => Number(v !== 0))
  }
  return masks
}

/** A trained model with its masked matrices stored, zeros and all (`f32`, unless given) or without them. */
export async function settleMasks<M extends Matrices<M>>(model: M, store: Store = "f32"): Promise<M> {
  const changed: Record<string, Weight> = {}
  for (const [path, weight] of Object.entries(model.weights)) if (isMasked(weight)) changed[path] = weightOf(stored(store, (await weight.dense().data()) as Float32Array, weight.shape), weight.shape)
  return model.with(changed)
}
