import { abs, castTo, customVjp, div, fail, maximum, mul, ones, reshape, showShape, sub, sum, where, type Tensor, type Weight } from "@thimble/core"
import type { QuantizedFormat } from "../quantizer.ts"
import { fromGroups, inGroups, rangeOf, roundOn, storedScale, type IntegerFormat } from "../format/integers.ts"
import { precision } from "../format/groups.ts"

/** What learned steps start from: f32 steps, and zero points (i32) where the format has them, both [rows, groups]. */
export interface Steps { readonly steps: Tensor; readonly zeros?: Tensor }

/**
 * Where steps begin for a matrix: symmetric ones at 2·mean|w|/√qmax of their group (Esser et al., arXiv 1902.08153, §2.1),
 * asymmetric ones at what the encoder finds, zero points included.
 */
export function initialSteps(values: Tensor, { integers }: IntegerFormat): Steps {
  const shape = values.shape as [number, number], grouped = inGroups(integers, castTo(values, "f32")), laid = integers.groups.shape(shape)
  if (integers.zeros) {
    const { scale, zero } = rangeOf(integers, grouped)
    return { steps: reshape(scale, laid), zeros: castTo(reshape(zero!, laid), "i32") }
  }
  // A ragged last group counts its own members only.
  const counted = inGroups(integers, ones(shape))
  const all = { axis: -1, keepDims: false }
  return { steps: mul(div(sum(abs(grouped), all), sum(counted, all)), 2 / Math.sqrt(integers.high)) }
}

/**
 * The steps and zero points of a matrix that is stored as the format stores it, however they were found: searched for, or solved
 * for together with the codes. Undefined where it is stored otherwise.
 */
export function storedSteps({ storage, parts }: Weight, format: IntegerFormat): Steps | undefined {
  if (typeof storage !== "object") return undefined
  const { scales, zeros } = parts() as Readonly<Record<"scales" | "zeros", Tensor | undefined>>
  if (((storage as Partial<QuantizedFormat>).plain ?? storage).name !== format.name || scales === undefined) return undefined
  return { steps: mul(castTo(scales, "f32"), 1), ...(zeros && { zeros: castTo(zeros, "i32") }) }
}

/**
 * x [rows, columns] rounded with steps that learn: x̂ = (clamp(round(x/s) + z, qmin, qmax) − z)·s with s as it will be stored.
 * ∂x̂/∂x is 1 inside and 0 outside; ∂x̂/∂s is round(x/s) − x/s inside and qmin − z or qmax − z outside, times 1/√(n·qmax) for
 * the n members of a group, so that steps move no faster than weights. Esser et al., Learned step size quantization, arXiv
 * 1902.08153, equations 1–5. A step that would pass below the smallest scale stays there.
 */
export function lsqQuantize(x: Tensor, { steps, zeros }: Steps, format: IntegerFormat): Tensor {
  const { integers } = format, shape = x.shape as [number, number], laid = integers.groups.shape(shape)
  if (x.rank !== 2) fail("shape", "lsqQuantize", `needs a matrix, got ${showShape(x.shape)}`)
  if (String(steps.shape) !== String(laid)) fail("shape", "lsqQuantize", `${showShape(steps.shape)} steps for ${showShape(laid)} groups`)
  if (integers.zeros !== (zeros !== undefined)) fail("value", "lsqQuantize", `${format.name} ${integers.zeros ? "needs zero points" : "has no zero points"}`)
  if (x.size === 0) return castTo(x, "f32")
  const per = (t: Tensor): Tensor => reshape(castTo(t, "f32"), [...laid, 1])
  const wide = castTo(x, "f32"), grouped = inGroups(integers, wide), zero = zeros && per(zeros)
  const scale = storedScale(maximum(per(steps), precision[integers.scales].least), integers.scales)
  const rounded = roundOn(integers, grouped, scale, zero), members = x.size / (laid[0] * laid[1])
  const through = customVjp(
    (_x, _s, value) => value!,
    (dy, _out, _x, s, _value, inside, slope) => [
      where(inside!, dy, 0),
      mul(reshape(sum(inGroups(integers, mul(dy, slope!)), { axis: -1 }), s!.shape), 1 / Math.sqrt(members * integers.high)),
      null, null, null,
    ],
  )
  const back = (t: Tensor): Tensor => fromGroups(t, shape)
  const slope = where(rounded.inside, sub(rounded.steps, div(grouped, scale)), rounded.steps)
  return through(wide, castTo(steps, "f32"), back(mul(rounded.steps, scale)), back(rounded.inside), back(slope))
}
