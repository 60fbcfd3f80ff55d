import { fail, quantizedWeight, roundHalfEven, type Activations, type Tensor, type Weight } from "@thimble/core"

export interface ActivationOptions {
  /** `symmetric` (unless given): zero in the middle, as integer kernels want it. `asymmetric`: all 256 codes from the least to the largest. */
  readonly range?: "symmetric" | "asymmetric"
}

/**
 * The int8 grid of a range that activations were seen in, [least, largest]: symmetric s = max(|least|, |largest|)/127;
 * asymmetric s = (hi − lo)/255 for lo = min(least, 0) and hi = max(largest, 0), zero = round(−lo/s) − 128. Nothing but zeros
 * has a scale of 1.
 */
export function activationGrid([least, largest]: readonly [number, number], { range = "symmetric" }: ActivationOptions = {}): { readonly scale: number; readonly zero?: number } {
  if (!(least <= largest && Number.isFinite(largest - least))) fail("value", "activationGrid", `a range goes from its least to its largest number, got ${least} … ${largest}`, "did calibration see a NaN?")
  const lo = Math.min(least, 0), hi = Math.max(largest, 0)
  // Smaller scales would be no normal numbers.
  const usable = (s: number): number => (s < 2 ** -126 ? 1 : Math.fround(s))
  if (range === "symmetric") return { scale: usable(Math.max(-lo, hi) / 127) }
  const scale = usable((hi - lo) / 255)
  return { scale, zero: Math.max(-128, Math.min(127, roundHalfEven(-lo / scale) - 128)) }
}

/** What has matrices by name, such as a model. */
export interface Weighted<M> {
  readonly weights: Readonly<Record<string, Weight>>
  with(changed: Readonly<Record<string, Weight | Tensor>>): M
}

/**
 * The model with other activations for its stored matrices: `seen` says for each name what its products see, or undefined to
 * leave it as it is. W8A8 are weights of `int(8)`, a scale per row, with `int8PerToken` or a grid for each matrix. Matrices that
 * are plain numbers have no integers to multiply, and are refused.
 */
export function withActivations<M extends Weighted<M>>(model: M, seen: (path: string, weight: Weight) => Activations | undefined): M {
  const changed: Record<string, Weight> = {}
  for (const [path, weight] of Object.entries(model.weights)) {
    const activations = seen(path, weight), { storage } = weight
    if (activations === undefined) continue
    if (storage === undefined || typeof storage === "string") fail("value", "withActivations", `${path} is ${storage === undefined ? `'${weight.form}', made of others` : `stored in ${storage}`}`, "quantize it first, or leave it as it is")
    const { "activations.scale": _, ...parts } = weight.parts()
    changed[path] = quantizedWeight(storage, weight.shape, parts, { activations })
  }
  return model.with(changed)
}
