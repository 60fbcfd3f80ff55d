import { add, exp, fail, log, logSoftmax, maximum, mul } from "@thimble/core"
import type { Model } from "@thimble/models"
import { asNetwork, withTop, type Network } from "../network.ts"

export interface EnsembleOptions {
  /** Share of each; equal unless given. They are made to sum to 1. */
  readonly weights?: readonly number[]
}

/** Several teachers as one: the mean of their probabilities (Hinton et al., 2015, arXiv:1503.02531, §3; You et al., 2017). It shows logits only. */
export function ensemble(teachers: readonly (Model | Network)[], { weights = teachers.map(() => 1) }: EnsembleOptions = {}): Network<readonly unknown[]> {
  if (teachers.length === 0) fail("value", "ensemble", "needs at least one teacher")
  if (weights.length !== teachers.length || !weights.every((w) => w > 0 && w < Infinity)) fail("value", "ensemble", `needs a weight > 0 for each of ${teachers.length} teachers, got ${weights.join(", ")}`)
  const members = teachers.map(asNetwork), whole = weights.reduce((a, b) => a + b)
  members.forEach(({ offers, dimensions: { classes } }, i) => {
    if (!offers.includes("logits")) fail("value", "ensemble", `teacher ${i} has no logits`)
    if (classes !== members[0]!.dimensions.classes) fail("value", "ensemble", `teacher ${i} knows ${classes} classes, teacher 0 ${members[0]!.dimensions.classes}`)
  })
  const contexts = members.flatMap(({ dimensions }) => dimensions.context ?? []), { classes } = members[0]!.dimensions, { tokenizer } = members[0]!
  return {
    parameters: members.map((m) => m.parameters), offers: ["logits", "top"], ...(tokenizer && { tokenizer }),
    dimensions: { ...(classes !== undefined && { classes }), ...(contexts.length > 0 && { context: Math.min(...contexts) }) },
    see(parameters, inputs, ask) {
      const each = members.map((m, i) => mul(exp(logSoftmax(m.see(parameters[i], inputs, { ...ask, wanted: ["logits"] }).logits!)), weights[i]! / whole))
      return withTop({ logits: log(maximum(each.reduce((a, b) => add(a, b)), 1e-38)) }, ask)
    },
  }
}
