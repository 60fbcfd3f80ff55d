import { castTo, cosineSimilarity, div, fail, linear, mean, random, showShape, square, stopGradient, sub, type Tensor } from "@thimble/core"
import { counted, meanOver, part, weightedSum, type Loss, type Seen, type View } from "./loss.ts"
import { evenly, pairsFor, pairsOf, placesNeeded, type Pairing, type Place } from "./pairing.ts"

/** Distances of rows a and b [..., width], each [...]. */
const distances = {
  mse: (a, b) => mean(square(sub(a, b)), { axis: -1 }),
  cosine: (a, b) => sub(1, cosineSimilarity(a, b)),
} satisfies Record<string, (a: Tensor, b: Tensor) => Tensor>

export interface HiddenOptions {
  /** Which layers are compared; {@link evenly} unless given. */
  readonly layers?: Pairing
  /** Mean of squares of the differences (unless given), or 1 − cosine of the angle between them. */
  readonly distance?: keyof typeof distances
  /**
   * Whether a matrix, learned with the student, leads from its width to the teacher's: where they differ (unless given), or
   * always.
   */
  readonly project?: "where widths differ" | "always"
}

/**
 * Hidden states (FitNets: Romero et al., 2014, arXiv:1412.6550, equation 3, with a linear regressor; TinyBERT: Jiao et al.,
 * 2019, arXiv:1909.10351, equations 8 and 9): the mean over pairs of layers of the distance between the student's stream, led to the
 * teacher's width, and the teacher's.
 */
export function hidden({ layers = evenly(), distance = "mse", project = "where widths differ" }: HiddenOptions = {}): Loss {
  if (!Object.hasOwn(distances, distance)) fail("value", "hidden", `no distance '${distance}'`, `one of ${Object.keys(distances).join(", ")}`)
  const parameter = (i: number): string => `project.${i}`
  return {
    name: distance === "mse" ? "hidden" : `hidden (${distance})`,
    needs: { student: placesNeeded(layers, 0), teacher: placesNeeded(layers, 1) },
    check: (student, teacher) => void pairsFor("hidden", layers, student, teacher),
    parameters(student, teacher, key) {
      const [from, to] = [student.width, teacher.width]
      if (from === undefined || to === undefined) return fail("value", "hidden", "student and teacher must say how wide they are")
      if (project !== "always" && from === to) return {}
      return Object.fromEntries(pairsFor("hidden", layers, student, teacher).map((_, i) => [parameter(i), random.normal(random.foldIn(key, i), [to, from], { std: 1 / Math.sqrt(from) })]))
    },
    compute(view) {
      const pairs = pairsOf("hidden", layers, view.student.hidden?.length ?? 0, view.teacher?.hidden?.length ?? 0), counts = counted(view)
      const each = pairs.map(([s, t], i): readonly [number, Tensor] => {
        const own = streamAt("student", view.student, s), target = stopGradient(streamAt("teacher", view.teacher, t))
        const matrix = view.parameters?.[parameter(i)], led = matrix === undefined ? own : linear(own, castTo(matrix, own.dtype))
        if (String(led.shape) !== String(target.shape)) fail("shape", "hidden", `layer ${s} of the student gives ${showShape(led.shape)}, ${t} of the teacher ${showShape(target.shape)}`, matrix === undefined ? "different widths need a projection, which is one of the loss's parameters" : undefined)
        return [1, meanOver(distances[distance](led, castTo(target, led.dtype)), counts)]
      })
      return div(weightedSum(each), each.length)
    },
  }
}

/** The stream at a place. */
export function streamAt(whose: "student" | "teacher", seen: Seen | undefined, place: Place): Tensor {
  if (place === "embedding" || place === "final") return part("hidden", whose, place, seen?.[place])
  return part("hidden", whose, `stream after block ${place}`, part("hidden", whose, "hidden states", seen?.hidden)[place])
}

/** The mean over the positions of each sequence that count, [batch, width]; of [batch, width] itself. */
export function pooled(x: Tensor, { mask, labels }: Pick<View, "mask" | "labels">): Tensor {
  if (x.rank === 2) return x
  if (x.rank !== 3) return fail("shape", "pooled", `needs [batch, positions, width] or [batch, width], got ${showShape(x.shape)}`)
  const counts = counted({ ...(mask && { mask }), ...(labels && { labels }) })
  if (counts === undefined) return mean(x, { axis: 1 })
  const factors = castTo(counts, x.dtype).reshape([x.shape[0]!, x.shape[1]!, 1])
  return x.mul(factors).sum({ axis: 1 }).div(factors.sum({ axis: 1 }).maximum(1e-6))
}
