import { exp, mul, sub, sum, type Tensor } from "@thimble/core"
import { divergence, type Divergence, type DivergenceOptions } from "./divergence.ts"

const last = { axis: -1 }
/** Σ p·(log p − log q) of each row of logarithms of probabilities. */
export const kullbackLeibler = (p: Tensor, q: Tensor): Tensor => sum(mul(exp(p), sub(p, q)), last)

/**
 * KL(teacher ‖ student), Σ p·log(p/q): the student covers all that the teacher finds likely (Kullback and Leibler, 1951;
 * as a loss Hinton et al., 2015, arXiv:1503.02531, equation 2, up to the teacher's entropy).
 */
export const forwardKL = (options: DivergenceOptions = {}): Divergence => divergence("forwardKL", options, kullbackLeibler)

/**
 * KL(student ‖ teacher), Σ q·log(q/p): the student keeps to what the teacher finds likely (MiniLLM: Gu et al., 2023,
 * arXiv:2306.08543, equation 1, here for given texts, token by token).
 */
export const reverseKL = (options: DivergenceOptions = {}): Divergence => divergence("reverseKL", options, (p, q) => kullbackLeibler(q, p))
