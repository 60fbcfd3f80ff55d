import { add, castTo, div, fail, log, maximum, mean, mul, reshape, showShape, sqrt, square, stopGradient, sub, sum as total, moveAxis, pow, type Tensor } from "@thimble/core"
import { counted, meanOver, part, weightedSum, type Loss } from "./loss.ts"
import { evenly, pairsFor, pairsOf, placesNeeded, type Pairing } from "./pairing.ts"
import { streamAt } from "./hidden.ts"

/** Distances of rows a and b of attention maps [..., keys], the student's first, each [...]. */
const distances = {
  mse: (a, b) => mean(square(sub(a, b)), { axis: -1 }),
  kl: (a, b) => total(mul(b, sub(safeLog(b), safeLog(a))), { axis: -1 }),
} satisfies Record<string, (a: Tensor, b: Tensor) => Tensor>
/** Keys that nobody sees have a share of 0. */
const safeLog = (x: Tensor): Tensor => log(maximum(x, 1e-30))

export interface AttentionMapOptions {
  /** Which blocks are compared; {@link evenly} unless given. */
  readonly layers?: Pairing
  /** Mean of squares of the differences (TinyBERT, unless given), or KL(teacher ‖ student) of each query's shares (MiniLM). */
  readonly distance?: keyof typeof distances
}

/**
 * Attention maps, head by head (TinyBERT: Jiao et al., 2019, arXiv:1909.10351, equation 7; MiniLM: Wang et al., 2020,
 * arXiv:2002.10957, equation 6): the mean over pairs of layers, heads and queries that count.
 */
export function attentionMaps({ layers = evenly(), distance = "mse" }: AttentionMapOptions = {}): Loss {
  if (!Object.hasOwn(distances, distance)) fail("value", "attentionMaps", `no distance '${distance}'`, `one of ${Object.keys(distances).join(", ")}`)
  const sameHeads = (s: number | undefined, t: number | undefined): void => {
    if (s !== undefined && t !== undefined && s !== t) fail("value", "attentionMaps", `the student has ${s} heads, the teacher ${t}`, "relations({ heads }) compares models of different heads")
  }
  return {
    name: distance === "mse" ? "attentionMaps" : `attentionMaps (${distance})`,
    needs: { student: ["attention"], teacher: ["attention"] },
    check(student, teacher) {
      pairsFor("attentionMaps", layers, student, teacher)
      sameHeads(student.heads, teacher?.heads)
    },
    compute(view) {
      const own = part("attentionMaps", "student", "attention maps", view.student.attention), taught = part("attentionMaps", "teacher", "attention maps", view.teacher?.attention)
      const counts = counted(view)
      const each = pairsOf("attentionMaps", layers, own.length, taught.length).map(([s, t]): readonly [number, Tensor] => {
        if (typeof s !== "number" || typeof t !== "number") return fail("value", "attentionMaps", "only blocks have attention maps")
        const a = own[s]!, b = stopGradient(castTo(taught[t]!, a.dtype))
        sameHeads(a.shape[1], b.shape[1])
        if (String(a.shape) !== String(b.shape)) fail("shape", "attentionMaps", `block ${s} of the student has ${showShape(a.shape)}, ${t} of the teacher ${showShape(b.shape)}`)
        return [1, meanOver(mean(distances[distance](a, b), { axis: 1 }), counts)]
      })
      return div(weightedSum(each), each.length)
    },
  }
}

export interface AttentionTransferOptions {
  /** Which layers are compared; {@link evenly} unless given. */
  readonly layers?: Pairing
  /** Power p of the activations; 2 unless given. */
  readonly power?: number
  /** The axis of channels, after the batch: the last, as streams have it, unless given; 1 of images [batch, channels, height, width]. */
  readonly channels?: number
}

/**
 * Attention transfer (Zagoruyko and Komodakis, 2016, arXiv:1612.03928, equation 2 with the sum of powers): where activations
 * are large. Maps Σ_channels |x|ᵖ, of each example brought to length 1, are compared by the mean of squares of their
 * differences, as in the authors' code; widths may differ.
 */
export function attentionTransfer({ layers = evenly(), power = 2, channels = -1 }: AttentionTransferOptions = {}): Loss {
  if (!(power > 0)) fail("value", "attentionTransfer", `the power must be positive, got ${power}`)
  const mapOf = (x: Tensor): Tensor => {
    const last = moveAxis(x, channels, -1), squared = square(last)
    const map = reshape(mean(power === 2 ? squared : pow(add(squared, 1e-12), power / 2), { axis: -1 }), [x.shape[0]!, x.size / x.shape[0]! / last.shape.at(-1)!])
    return div(map, maximum(sqrt(total(square(map), { axis: -1, keepDims: true })), 1e-12))
  }
  return {
    name: "attentionTransfer",
    needs: { student: placesNeeded(layers, 0), teacher: placesNeeded(layers, 1) },
    check: (student, teacher) => void pairsFor("attentionTransfer", layers, student, teacher),
    compute(view) {
      const each = pairsOf("attentionTransfer", layers, view.student.hidden?.length ?? 0, view.teacher?.hidden?.length ?? 0).map(([s, t]): readonly [number, Tensor] => {
        const a = mapOf(streamAt("student", view.student, s)), b = stopGradient(mapOf(streamAt("teacher", view.teacher, t)))
        if (String(a.shape) !== String(b.shape)) fail("shape", "attentionTransfer", `maps of layers ${s} and ${t} have ${showShape(a.shape)} and ${showShape(b.shape)}`, "they need the same positions")
        return [1, mean(square(sub(a, castTo(b, a.dtype))))]
      })
      return div(weightedSum(each), each.length)
    },
  }
}
