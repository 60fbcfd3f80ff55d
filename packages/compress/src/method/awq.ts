import { fail, matmul, mul, sub, sum, transpose, type Tensor } from "@thimble/core"
import type { Json, Stores } from "@thimble/models"
import { encodeRows } from "../parallel/encode-rows.ts"
import type { QuantizedFormat } from "../quantizer.ts"
import { onDevice, weightOf, type Balance, type Matrix, type Method } from "../recipe/method.ts"
import { magnitudes, sampled } from "../recipe/statistic.ts"
import { clipped } from "./clip.ts"
import { cost } from "./target.ts"

export interface AwqMethodOptions<K extends string = string> {
  readonly format: QuantizedFormat & Stores<K>
  /** Exponents that are tried, from 0 in equal steps to before 1; 20 unless given. */
  readonly points?: number
  /** Calibration inputs that outputs are compared on; 512 unless given. */
  readonly samples?: number
  /** Whether ranges are shrunk where that makes outputs better (`search`, unless given), or whole (`none`). */
  readonly clip?: "search" | "none"
}

/**
 * AWQ (Lin et al., arXiv 2306.00978) for any format: columns that are multiplied with much are made larger before they are
 * rounded, and what gives their inputs smaller, as a search over outputs finds it; then the range of each group is. Factors
 * of one and whole ranges are always among what is tried.
 */
export function awq<K extends string = string>(options: AwqMethodOptions<K>): Method & Stores<K> {
  const { format, points = 20, samples = 512, clip = "search" } = options
  if (clip !== "search" && clip !== "none") fail("value", "awq", `clip must be search or none, got ${String(clip)}`)
  const rows = sampled(samples)
  return {
    name: "awq",
    toJSON: (): Json => ({ method: "awq", format: format.name, points, samples, clip }),
    balance: activationScales({ format, points, samples }),
    ...(clip === "search" && { observes: [rows] }),
    target: (shape) => cost(format, shape),
    async round(matrix, statistics, { signal } = {}) {
      const own = { ...(signal && { signal }) }, values = clip === "search" ? await clipped(format, matrix, (await statistics!.of(rows).data()) as Float32Array, own) : matrix.values
      return { stored: { format, parts: await encodeRows(format, values, matrix.shape, own) } }
    },
  }
}

/** AWQ's factors: sⱼ = mean|xⱼ|^r, with the exponent r whose outputs change least. */
export function activationScales({ format, points = 20, samples = 512 }: AwqMethodOptions): Balance {
  if (!(Number.isInteger(points) && points >= 1)) fail("value", "awq", `points must be a whole number ≥ 1, got ${points}`)
  const rows = sampled(samples)
  return {
    name: "activation scales",
    toJSON: () => ({ balance: "activation scales", format: format.name, points, samples }),
    observes: [magnitudes, rows],
    async scales(matrices, statistics) {
      const total = (await statistics.of(magnitudes).data()) as Float32Array, x = statistics.of(rows)
      const columns = total.length, mean = Float64Array.from(total, (v) => v / statistics.tokens)
      const lossOf = async (s: Float64Array): Promise<number> => {
        let loss = 0
        for (const m of matrices) loss += await outputLoss(format, m, x, s)
        return loss
      }
      let best = new Float64Array(columns).fill(1), least = await lossOf(best)
      for (let i = 1; i < points; i++) {
        const raw = mean.map((v) => Math.max(1e-4, v ** (i / points))), middle = Math.sqrt(Math.max(...raw) * Math.min(...raw))
        const scales = raw.map((s) => (Number.isFinite(s / middle) && s > 0 ? s / middle : 1)), loss = await lossOf(scales)
        if (loss < least) {
          least = loss
          best = scales
        }
      }
      return best
    },
  }
}

/** Σ (X·(W − Ŵ)ᵀ)², for W with its columns times factors, rounded, and divided by them again. */
async function outputLoss(format: QuantizedFormat, { values, shape }: Matrix, x: Tensor, s: Float64Array): Promise<number> {
  const columns = shape[1], rounded = weightOf({ format, parts: await encodeRows(format, values.map((v, i) => v * s[i % columns]!), shape) }, shape)
  const w = onDevice(values, shape), inverse = onDevice(Float32Array.from(s, (v) => 1 / v), [columns])
  const y = matmul(x, transpose(sub(w, mul(rounded.dense(), inverse)))), loss = sum(mul(y, y))
  try {
    return Number((await loss.data())[0])
  } finally {
    for (const t of [w, inverse, loss, ...Object.values(rounded.parts())]) t.dispose()
  }
}
