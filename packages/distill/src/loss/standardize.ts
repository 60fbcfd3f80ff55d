import { add, div, mean, sub, variance, sqrt, type Tensor } from "@thimble/core"

/**
 * Logit standardisation (Sun et al., 2024, arXiv:2403.01734, algorithm 1), for `prepare` of a divergence: each row of
 * logits less its mean, divided by its standard deviation (of a sample, as in the authors' code, plus 1e-7), so that the
 * student need not match the teacher's range.
 */
export function standardize(logits: Tensor): Tensor {
  const row = { axis: -1, keepDims: true }
  return div(sub(logits, mean(logits, row)), add(sqrt(variance(logits, { ...row, correction: 1 })), 1e-7))
}
