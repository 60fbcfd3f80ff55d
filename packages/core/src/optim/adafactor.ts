import { fail } from "../errors.ts"
import { zeros } from "../ops/create.ts"
import { add, div, maximum, minimum, mul, square, sub } from "../ops/elementwise.ts"
import { pow, rsqrt, sqrt } from "../ops/math.ts"
import { unsqueeze } from "../ops/movement.ts"
import { mean } from "../ops/reduce.ts"
import type { Tensor } from "../tensor.ts"
import { checkNumber, optimizer, zero, type Optimizer, type OptimizerOptions, type OptimizerState } from "./optimizer.ts"

export interface AdafactorOptions extends Partial<OptimizerOptions> {
  /** Largest relative step, or the step itself (see `scale`); 0.01 unless given. */
  readonly rate?: number
  /**
   * `parameter` (unless given): steps are relative to the size of the parameter and shrink with time,
   * η = max(ε₂, RMS(p))·min(rate, 1/√t). `absolute`: η = rate, as fine-tuning with a rate of 1e-3 does.
   */
  readonly scale?: "parameter" | "absolute"
  /** ε₁, added to squared gradients, and ε₂, the least parameter scale; [1e-30, 1e-3] unless given. */
  readonly eps?: readonly [squares: number, scale: number]
  /** Largest RMS of an update before the rate; 1 unless given. */
  readonly clip?: number
  /** Exponent c of the decay 1 − t⁻ᶜ of the second moment; 0.8 unless given. */
  readonly decayPower?: number
}
export type AdafactorState = OptimizerState<"rows" | "columns" | "squares">

const factored = (p: Tensor): boolean => p.rank >= 2
const meanSquare = (x: Tensor): Tensor => mean(square(x))

/**
 * Adafactor without momentum (Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4 and 5): the second moment of a
 * matrix is kept as its row and column means, n + m numbers instead of n·m; of a tensor with more axes, for the last two.
 *
 *     β = 1 − t⁻ᶜ;   r ← βr + (1−β)·mean_columns(g² + ε₁);   c ← βc + (1−β)·mean_rows(g² + ε₁);   v = r·cᵀ/mean(r)
 *     u = g/√v;   p ← p·(1 − rate·λ) − η·u/max(1, RMS(u)/clip)
 */
export function adafactor(options: AdafactorOptions = {}): Optimizer<AdafactorState> {
  const { rate: own = 0.01, scale = "parameter", eps: [e1, e2] = [1e-30, 1e-3], clip = 1, decayPower = 0.8 } = options
  checkNumber("adafactor", "eps[0]", e1)
  checkNumber("adafactor", "eps[1]", e2)
  if (!(clip > 0)) fail("value", "adafactor", `clip must be > 0, got ${clip}`, "Infinity clips nothing")
  if (!(decayPower > 0 && decayPower <= 1)) fail("value", "adafactor", `decayPower must be in 0 < c ≤ 1, got ${decayPower}`)
  if (scale !== "parameter" && scale !== "absolute") fail("value", "adafactor", `scale must be 'parameter' or 'absolute', got '${String(scale)}'`)
  const average = (p: Tensor, axis: -1 | -2): Tensor | undefined => (factored(p) ? zeros(p.shape.toSpliced(axis, 1), zero(p).dtype) : undefined)
  return optimizer({
    name: "adafactor",
    options: { ...options, rate: own },
    slots: { rows: (p) => average(p, -1), columns: (p) => average(p, -2), squares: (p) => (factored(p) ? undefined : zero(p)) },
    step: (t, rate) => {
      const fresh = pow(t, -decayPower)
      const kept = sub(1, fresh)
      const largest = scale === "absolute" ? rate : minimum(rate, rsqrt(t))
      const towards = (old: Tensor, value: Tensor): Tensor => add(mul(old, kept), mul(value, fresh))
      return ({ p, g, decay, slots }) => {
        const g2 = add(square(g), e1)
        let { rows, columns, squares } = slots
        let update: Tensor
        if (factored(p)) {
          rows = towards(rows, mean(g2, { axis: -1 }))
          columns = towards(columns, mean(g2, { axis: -2 }))
          // Two roots, because the product of two second moments leaves the range of f32.
          const byRow = rsqrt(div(rows, mean(rows, { axis: -1, keepDims: true })))
          update = mul(mul(g, unsqueeze(byRow, -1)), unsqueeze(rsqrt(columns), -2))
        } else {
          squares = towards(squares, g2)
          update = mul(g, rsqrt(squares))
        }
        const clipped = div(update, maximum(1, div(sqrt(meanSquare(update)), clip)))
        const size = scale === "absolute" ? largest : mul(maximum(sqrt(meanSquare(p)), e2), largest)
        const from = decay === 0 ? p : mul(p, sub(1, mul(rate, decay)))
        return { p: sub(from, mul(size, clipped)), rows, columns, squares }
      }
    },
  })
}
