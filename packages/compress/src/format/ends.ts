// How far the codes of a group reach: over all of it, or over less, so that most of it has finer steps.
import { fail } from "@thimble/core"

/** What codes are laid over: the values of a group, or the bins of a histogram. */
export interface Spread {
  readonly values: ArrayLike<number>
  /** How often each value is there; once unless given. */
  readonly counts?: ArrayLike<number>
  /** The whole of it, zero included: low ≤ 0 ≤ high, and low = −high where codes are symmetric. */
  readonly low: number
  readonly high: number
  readonly symmetric: boolean
  /** Codes from zero to the farther end, both included. */
  readonly levels: number
  /** Σ count · importance · (x − x̂)² with codes from one end to the other; anything larger than `limit`, if that is exceeded. */
  error(low: number, high: number, limit: number): number
}

/** A way to choose ends. What lies beyond them becomes the last code. */
export interface Ends {
  /** Its kind, and what is not as usual: `formatNamed` makes it again. */
  readonly name: string
  /** The least share of the whole that it leaves. */
  readonly least: number
  /** It finds the least squared error of several ends, the whole among them. */
  readonly leastSquares?: true
  find(spread: Spread): readonly [low: number, high: number]
}

/** What all searches for ends have. */
export interface EndsOptions {
  /** No end is cut to less than this share of the whole; 2⁻¹⁰ unless given (0.2 for `mse`). */
  readonly least?: number
}
export interface MseOptions extends EndsOptions {
  /** Ends that are tried, the whole first, in equal steps; 80 unless given. */
  readonly points?: number
}
export interface EntropyOptions extends EndsOptions {
  /** Bins of the histogram, 2048 unless given. */
  readonly bins?: number
  /** Ends that are tried, the whole first, in equal steps; 128 unless given. */
  readonly points?: number
}

/** Differences smaller than what sums in another order have are none. */
const better = (error: number, than: number): boolean => error < than * (1 - 2 ** -30)

function checkLeast(op: string, least: number): number {
  return least > 0 && least <= 1 ? least : fail("value", op, `least must be a share above 0 and up to 1, got ${least}`)
}
function checkCount(op: string, name: string, n: number, from: number): number {
  return Number.isInteger(n) && n >= from ? n : fail("value", op, `${name} must be a whole number ≥ ${from}, got ${n}`)
}

/**
 * Ends that so many of a hundred values lie within: of magnitudes for symmetric codes, on either side otherwise (nearest
 * rank, so that an end is a value of the group). 100 is the whole.
 */
export function percentile(p: number, { least = 2 ** -10 }: EndsOptions = {}): Ends {
  if (!(p > 50 && p <= 100)) fail("value", "percentile", `p must be above 50 and up to 100, got ${p}`)
  checkLeast("percentile", least)
  return {
    name: `percentile ${p}${least === 2 ** -10 ? "" : ` ${least}`}`, least,
    find({ values, counts, low, high, symmetric }) {
      if (p === 100) return [low, high]
      const cut = (of: (v: number) => number, whole: number): number => Math.min(whole, Math.max(ranked(values, counts, p, of), whole * least))
      if (!symmetric) return [-cut((v) => -v, -low), cut((v) => v, high)]
      const end = cut(Math.abs, high)
      return [-end, end]
    },
  }
}

/** The least value that p of a hundred do not exceed. */
function ranked(values: ArrayLike<number>, counts: ArrayLike<number> | undefined, p: number, of: (v: number) => number): number {
  const sizes = Float64Array.from(values, of)
  // A share such as 99.9 of 1000 is a whole number but for rounding.
  const rankOf = (total: number): number => (total * p) / 100 - total * 2 ** -40
  if (counts === undefined) return sizes.sort()[Math.ceil(rankOf(sizes.length)) - 1]!
  const order = Int32Array.from(sizes, (_, i) => i).sort((a, b) => sizes[a]! - sizes[b]!)
  let total = 0, below = 0
  for (let i = 0; i < sizes.length; i++) total += counts[i]!
  for (const i of order) if ((below += counts[i]!) >= rankOf(total)) return sizes[i]!
  return 0
}

/**
 * Ends with the least squared error, weighted by the importance of columns where it is known: the whole, and both ends
 * moved towards zero together. The whole is tried first, so that a search never makes the error larger.
 */
export function mse({ points = 80, least = 0.2 }: MseOptions = {}): Ends {
  checkCount("mse", "points", points, 2)
  checkLeast("mse", least)
  return {
    name: `mse${points === 80 && least === 0.2 ? "" : ` ${points} ${least}`}`, least, leastSquares: true,
    find({ low, high, error }) {
      let share = 1, lowest = error(low, high, Infinity)
      for (let i = 1; i < points && lowest > 0; i++) {
        const tried = 1 - ((1 - least) * i) / (points - 1), found = error(tried * low, tried * high, lowest)
        if (!better(found, lowest)) continue
        share = tried
        lowest = found
      }
      return [share * low, share * high]
    },
  }
}

/**
 * Ends with which the least is lost of how magnitudes are distributed: the Kullback–Leibler divergence between a
 * histogram of them with all that lies beyond in its last bin, and the same with as many steps as there are codes. The whole is tried
 * first. Zeros count for nothing, for all ends keep them. Source: Migacz, "8-bit Inference with TensorRT" (GTC 2017).
 * What is small is the divergence; the squared error may be larger than that of the whole.
 */
export function entropy({ bins = 2048, points = 128, least = 2 ** -10 }: EntropyOptions = {}): Ends {
  checkCount("entropy", "bins", bins, 2)
  checkCount("entropy", "points", points, 2)
  checkLeast("entropy", least)
  return {
    name: `entropy${bins === 2048 && points === 128 && least === 2 ** -10 ? "" : ` ${bins} ${points} ${least}`}`, least,
    find({ values, counts, low, high, levels }) {
      const histogram = new Float64Array(bins), first = Math.max(levels, Math.ceil(bins * least))
      for (let i = 0; i < values.length; i++) {
        const v = values[i]!
        if (v !== 0) histogram[Math.min(bins - 1, Math.floor((v / (v < 0 ? low : high)) * bins))]! += counts?.[i] ?? 1
      }
      const filled = Int32Array.from(histogram, (_, i) => i).filter((i) => histogram[i]! > 0)
      let length = bins, lowest = first < bins ? divergence(histogram, filled, bins, levels) : 0
      for (let i = 1; i < points && lowest > 0; i++) {
        const tried = Math.round(bins - ((bins - first) * i) / (points - 1)), found = divergence(histogram, filled, tried, levels)
        if (!better(found, lowest)) continue
        length = tried
        lowest = found
      }
      return [low * (length / bins), high * (length / bins)]
    },
  }
}

/** Ends by the name that they have: `mse`, `percentile 99.9`, `entropy 512 64 0.01`. */
export function endsNamed(name: string): Ends | undefined {
  const [kind, ...numbers] = name.split(" "), [a, b, c] = numbers.map(Number)
  if (kind === "mse") return mse(a === undefined ? {} : { points: a, ...(b !== undefined && { least: b }) })
  if (kind === "percentile" && a !== undefined) return percentile(a, b === undefined ? {} : { least: b })
  if (kind === "entropy") return entropy(a === undefined ? {} : { bins: a, ...(b !== undefined && { points: b }), ...(c !== undefined && { least: c }) })
  return undefined
}

/** As MXNet's smoothing has it. */
const trace = 1e-4

/** KL(P ‖ Q) of the first bins with the others in the last of them, and of these bins in so many steps. `filled` are those with something in them. */
function divergence(histogram: Float64Array, filled: Int32Array, length: number, levels: number): number {
  let within = 0, all = 0, sum = 0, at = 0
  for (const i of filled) {
    all += histogram[i]!
    if (i < length) within += histogram[i]!
  }
  if (within === 0) return all === 0 ? 0 : Infinity
  const beyond = all - within, loss = (p: number, q: number): number => (p / all) * Math.log((p * within) / (all * q))
  for (let level = 0; at < filled.length && filled[at]! < length; level++) {
    const end = Math.floor(((level + 1) * length) / levels), begin = at
    let mass = 0
    for (; at < filled.length && filled[at]! < end; at++) mass += histogram[filled[at]!]!
    for (let i = begin; i < at; i++) sum += loss(histogram[filled[i]!]! + (filled[i] === length - 1 ? beyond : 0), mass / (at - begin))
  }
  // An empty last bin has no step for what lies beyond: a trace of one instead, so that a few far values can be given up.
  return sum + (beyond > 0 && histogram[length - 1] === 0 ? loss(beyond, trace) : 0)
}
