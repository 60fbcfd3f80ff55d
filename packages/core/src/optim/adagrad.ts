import { full } from "../ops/create.ts"
import { add, div, mul, square, sub } from "../ops/elementwise.ts"
import { sqrt } from "../ops/math.ts"
import { checkFactor, checkNumber, optimizer, zero, type Optimizer, type OptimizerOptions, type OptimizerState } from "./optimizer.ts"

export interface AdagradOptions extends OptimizerOptions {
  /** The rate of step t is divided by 1 + (t−1)·rateDecay; 0 unless given. */
  readonly rateDecay?: number
  /** Added to the root; 1e-10 unless given. */
  readonly eps?: number
  /** What the sums of squares start at; 0 unless given. */
  readonly initial?: number
}

/** Adagrad (Duchi, Hazan, Singer 2011), as in torch: g ← g + λp;  s ← s + g²;  p ← p − η/(1 + (t−1)·rateDecay) · g/(√s + ε). */
export function adagrad(options: AdagradOptions): Optimizer<OptimizerState<"squares">> {
  const { rateDecay = 0, eps = 1e-10, initial = 0 } = options
  checkNumber("adagrad", "rateDecay", rateDecay)
  checkNumber("adagrad", "eps", eps)
  checkNumber("adagrad", "initial", initial)
  return optimizer({
    name: "adagrad",
    options,
    slots: { squares: (p) => full(p.shape, initial, zero(p).dtype) },
    step: (t, rate) => {
      const size = rateDecay === 0 ? rate : div(rate, add(mul(sub(t, 1), rateDecay), 1))
      return ({ p, g, decay, slots }) => {
        const slope = decay === 0 ? g : add(g, mul(p, decay))
        const squares = add(slots.squares, square(slope))
        return { p: sub(p, mul(size, div(slope, add(sqrt(squares), eps)))), squares }
      }
    },
  })
}

export interface AdadeltaOptions extends OptimizerOptions {
  /** Decay factor ρ of both running means; 0.9 unless given. */
  readonly rho?: number
  /** Added under both roots; 1e-6 unless given. */
  readonly eps?: number
}

/**
 * Adadelta (Zeiler 2012, arXiv:1212.5701), as in torch; the paper's rate is 1:
 *
 *     g ← g + λp;   s ← ρs + (1−ρ)g²;   d = √(u + ε)/√(s + ε)·g;   u ← ρu + (1−ρ)d²;   p ← p − ηd
 */
export function adadelta(options: AdadeltaOptions): Optimizer<OptimizerState<"squares" | "moves">> {
  const { rho = 0.9, eps = 1e-6 } = options
  checkFactor("adadelta", "rho", rho)
  checkNumber("adadelta", "eps", eps)
  return optimizer({
    name: "adadelta",
    options,
    slots: { squares: zero, moves: zero },
    step: (_t, rate) => ({ p, g, decay, slots }) => {
      const slope = decay === 0 ? g : add(g, mul(p, decay))
      const squares = add(mul(slots.squares, rho), mul(square(slope), 1 - rho))
      const move = mul(div(sqrt(add(slots.moves, eps)), sqrt(add(squares, eps))), slope)
      return { p: sub(p, mul(rate, move)), squares, moves: add(mul(slots.moves, rho), mul(square(move), 1 - rho)) }
    },
  })
}
