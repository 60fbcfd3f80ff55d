import { abs, adam, clamp, exp, grad, log, matmul, maximum, mul, reshape, sigmoid, sub, sum, tensor, type AdamState, type Optimizer, type Tensor } from "@thimble/core"
import type { MatrixShape } from "../quantizer.ts"
import { reconstruct, type Given, type GridChoice, type LearnedRounding, type Problem, type ReconstructionOptions } from "./reconstruct.ts"

export interface AdaroundOptions extends ReconstructionOptions {
  /** Steps of Adam that are made; 500 unless given. */
  readonly steps?: number
  /** The rate of Adam; 0.1 unless given. */
  readonly rate?: number
  /** How much it counts that a weight has not decided yet, beside what rounding it to nearest loses; 3 unless given. */
  readonly regularizer?: number
}

/** What a step changes: V, and what Adam keeps. */
interface State { readonly logits: Tensor; readonly adam: AdamState }

/** h(V) = clip(σ(V)·(ζ − γ) + γ, 0, 1), which comes to 0 and to 1 (equation 23). */
const [zeta, gamma] = [1.1, -0.1]
const rectified = (logits: Tensor): Tensor => clamp(sigmoid(logits).mul(zeta - gamma).add(gamma), 0, 1)
const logitOf = (share: number): number => -Math.log((zeta - gamma) / (share - gamma) - 1)

/** The exponent of the regulariser falls from the first to the last as half a cosine does, after a share of steps without it. */
const exponents = [20, 2] as const, free = 0.2

/**
 * Learns which way to round: each weight becomes the code below it or the one above. What is learned is how far up it goes,
 * h(V) between 0 and 1, by the change of the outputs Σ rows (w − ŵ)·H·(w − ŵ)ᵀ for H as `hessian` sums it, and a term
 * Σ 1 − |2h(V) − 1|^β that drives h to 0 or 1 as β falls. Rows that lose more than rounded to nearest, in float64, are rounded to
 * nearest. Steps run on the current device. The two terms are weighed in units of what nearest loses, a weight of a row, so that
 * neither the size of H nor that of a layer matters. Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training
 * Quantization", arXiv 2004.10568, equations 21–25.
 */
export function solveAdaround(weights: Float32Array | Float64Array, shape: MatrixShape, hessian: Float64Array, options: AdaroundOptions & GridChoice): Promise<LearnedRounding> {
  const { steps = 500, rate = 0.1, regularizer = 3 } = options
  return reconstruct<State, Fixed>("adaround", weights, shape, hessian, { ...options, steps }, (problem) => {
    const { weights: w, shape: [, columns], setting, starts } = problem, width = setting.groups * setting.size, optimizer = adam({ rate }), { logits, fixed } = begin(problem)
    return {
      state: { logits, adam: optimizer.init({ logits }) },
      fixed,
      numbers(share) {
        const past = Math.max(0, (share - free) / (1 - free)), [from, to] = exponents
        return [rate, share < free ? 0 : regularizer, to + (from - to) * 0.5 * (1 + Math.cos(Math.PI * past))]
      },
      step: (state, given, rate, weight, beta) => stepped(state, given, { rate: rate!, weight: weight!, beta: beta! }, problem, optimizer),
      async choose({ logits }) {
        const up = (await logits.data()) as Float32Array
        return { grid: (at) => starts[at]!, value: (r, c, { scale }) => (scale === 0 ? 0 : (Math.floor(w[r * columns + c]! / scale) + (up[r * width + c]! >= 0 ? 1 : 0)) * scale) }
      },
    }
  })
}

/** The code below each weight, as it is counted from zero, and what a row's loss is multiplied with. */
type Fixed = Readonly<Record<"below" | "share", Tensor>>

/** V with h(V) where the weights lie between their two codes. */
function begin({ weights: w, shape: [rows, columns], setting: { groups, size }, starts, plainLoss, unit }: Problem): { readonly logits: Tensor; readonly fixed: Fixed } {
  const width = groups * size, below = new Float32Array(rows * width), logits = new Float32Array(rows * width)
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) {
      const { scale } = starts[r * groups + Math.floor(c / size)]!, at = scale === 0 ? 0 : w[r * columns + c]! / scale
      below[r * width + c] = Math.floor(at)
      logits[r * width + c] = logitOf(at - Math.floor(at))
    }
  const shape = [rows, groups, size]
  return {
    logits: tensor(logits, { shape }),
    fixed: { below: tensor(below, { shape }), share: tensor(Float32Array.from(plainLoss, (loss) => (loss > 0 ? (columns * unit) / loss : 0)), { shape: [rows] }) },
  }
}

function stepped(
  { logits, adam: kept }: State, { weights, hessian, scales, zeros, below, share }: Given & Fixed, { rate, weight, beta }: Readonly<Record<"rate" | "weight" | "beta", Tensor>>, { setting: { least, most, groups, size } }: Problem, optimizer: Optimizer<AdamState>,
): { readonly state: State; readonly loss: Tensor } {
  const [rows] = weights.shape as [number], up = rectified(logits)
  const change = reshape(clamp(below.add(up).add(zeros), least, most).sub(zeros).mul(scales).sub(weights), [rows, groups * size])
  const each = sum(mul(matmul(change, hessian), change), { axis: 1 })
  // |2h − 1| to a power, whose slope at 0 is 0.
  const decided = exp(log(maximum(abs(up.mul(2).sub(1)), 1e-6)).mul(beta))
  const [slope] = grad(sum(mul(each, share)).add(sum(sub(1, decided)).mul(weight)), [logits]), { parameters, state } = optimizer.update({ logits }, { logits: slope! }, kept, rate)
  return { loss: sum(each), state: { ...parameters, adam: state } }
}
