// B: what encoding and decoding do to one another, to signs, factors, shifts and orders.
import type { MatrixShape, Quantizer } from "../quantizer.ts"
import { show } from "./bounds.ts"
import { breach, differing, groupsOf, roundTrip, type Breach, type HostLaw } from "./law.ts"
import { ordinary } from "./values.ts"

export const nearest: HostLaw = {
  name: "nearest", letter: "B12",
  statement: "No value that an element could decode to, with its group's parameters, is nearer than x̂, as long as scales stay in their range.",
  broken(q, { values, shape: [rows, columns], shape, pick }) {
    if (q.levels === undefined || !inRange(q, values, shape)) return undefined
    const there = roundTrip(q, values, shape)
    if (there === undefined) return undefined
    const stride = Math.max(1, Math.floor((rows * columns) / 24))
    for (let i = pick % stride; i < values.length; i += stride) {
      const x = values[i]!, error = Math.abs(x - there.back[i]!)
      const levels = q.levels(there.encoded, shape, Math.floor(i / columns), i % columns).filter(Number.isFinite)
      let best = Infinity, most = Math.abs(x), which = NaN
      for (const v of levels) {
        if (Math.abs(x - v) < best) {
          best = Math.abs(x - v)
          which = v
        }
        most = Math.max(most, Math.abs(v))
      }
      if (error > best + most * 2 ** -21) return breach(i, shape, `x̂ = ${show(there.back[i]!)} is ${show(error)} away, but ${show(which)} only ${show(best)}`)
    }
    return undefined
  },
}

export const idempotent: HostLaw = {
  name: "idempotent", letter: "B1, B2",
  statement: "Q(Q(x)) = Q(x), bit for bit, as long as scales stay in their range: what is on the grid of a group stays there.",
  broken(q, { values, shape }) {
    if (!inRange(q, values, shape)) return undefined
    const once = roundTrip(q, values, shape)
    const twice = once && roundTrip(q, once.back, shape)
    if (once === undefined || twice === undefined) return undefined
    const at = differing(once.back, twice.back, shape)
    return at && { at, problem: `x̂ = ${show(once.back[at.i]!)} becomes ${show(twice.back[at.i]!)}` }
  },
}

export const zero: HostLaw = {
  name: "zero", letter: "B4",
  statement: "Zeros decode to zero (of either sign), also among others; a matrix of zeros has finite parameters.",
  broken(q, { values, shape, pick }) {
    const some = values.map((v, i) => ((i + pick) % (2 + (pick % 3)) === 0 || pick % 7 === 0 ? 0 : v))
    const there = roundTrip(q, some, shape)
    const wrong = there ? there.back.findIndex((v, i) => some[i] === 0 && v !== 0) : -1
    return wrong < 0 ? undefined : breach(wrong, shape, `zero becomes ${show(there!.back[wrong]!)}`)
  },
}

export const constant: HostLaw = {
  name: "constant", letter: "B5",
  statement: "A matrix of one value keeps it to the accuracy of its scales (2⁻¹¹ for f16, 2⁻⁸ for bf16).",
  kinds: ordinary,
  broken(q, { values, shape, pick }) {
    const c = values[pick % Math.max(1, values.length)] ?? 0
    if (!inRange(q, Float32Array.of(c), [1, 1])) return undefined
    const there = roundTrip(q, values.map(() => c), shape)
    const wrong = there ? there.back.findIndex((v) => !(Math.abs(v - c) <= Math.abs(c) * 2 ** -8)) : -1
    return wrong < 0 ? undefined : breach(wrong, shape, `${show(c)} becomes ${show(there!.back[wrong]!)}`)
  },
}

export const sign: HostLaw = {
  name: "sign", letter: "B6",
  statement: "Q(−x) = −Q(x).",
  broken(q, { values, shape }) {
    const plus = roundTrip(q, values, shape), minus = roundTrip(q, values.map((v) => -v), shape)
    if (plus === undefined || minus === undefined) return undefined
    const at = differing(plus.back, minus.back.map((v) => -v), shape)
    return at && { at, problem: `x̂ = ${show(plus.back[at.i]!)}, but −x becomes ${show(minus.back[at.i]!)}` }
  },
}

/** Whether scales of all groups keep their bits; a group of zeros does. */
export function inRange<E>(q: Quantizer<E>, values: Float32Array, [rows, columns]: MatrixShape): boolean {
  const [least, most] = q.range ?? [0, Infinity]
  for (let r = 0; r < rows; r++)
    for (const [from, to] of groupsOf(q, columns)) {
      let amax = 0
      for (let c = from; c < to; c++) amax = Math.max(amax, Math.abs(values[r * columns + c]!))
      if (amax !== 0 && !(amax >= least && amax <= most)) return false
    }
  return true
}

export const scaling: HostLaw = {
  name: "scaling", letter: "B7",
  statement: "Q(c·x) = c·Q(x) for a power of two c, as long as scales stay in their range.",
  broken(q, { values, shape, pick }) {
    const c = 2 ** ((pick % 9) - 4), scaled = values.map((v) => c * v)
    if (scaled.some((v, i) => v / c !== values[i]) || !inRange(q, values, shape) || !inRange(q, scaled, shape)) return undefined
    const plain = roundTrip(q, values, shape), other = roundTrip(q, scaled, shape)
    if (plain === undefined || other === undefined) return undefined
    const at = differing(plain.back.map((v) => c * v), other.back, shape)
    return at && { at, problem: `x̂ = ${show(plain.back[at.i]!)}, but ${show(c)}·x becomes ${show(other.back[at.i]!)}` }
  },
}

export const translation: HostLaw = {
  name: "translation", letter: "B8",
  statement: "A constant added to all of x leaves the error bound as it is, but for what rounding to f16 takes from the sums.",
  kinds: ["integers", "bothEnds", "positive", "oneHot"],
  broken(q, { values, shape, pick }) {
    const t = 4 + (pick % 61), moved = values.map((v) => v + t)
    const here = roundTrip(q, values, shape), there = roundTrip(q, moved, shape)
    if (here === undefined || there === undefined) return undefined
    const before = q.errorBound(here.encoded, shape, values), after = q.errorBound(there.encoded, shape, moved)
    const rounding = moved.reduce((m, v) => Math.max(m, Math.abs(v)), 0) * 2 ** -10
    const wrong = after.findIndex((b, i) => !(b <= before[i]! + rounding))
    return wrong < 0 ? undefined : breach(wrong, shape, `the bound grows from ${show(before[wrong]!)} to ${show(after[wrong]!)} when ${t} is added`)
  },
}

export const monotone: HostLaw = {
  name: "monotone", letter: "B9",
  statement: "Within a group, xᵢ ≤ xⱼ means x̂ᵢ ≤ x̂ⱼ.",
  broken(q, { values, shape: [rows, columns], shape }): Breach | undefined {
    const there = roundTrip(q, values, shape)
    if (there === undefined) return undefined
    for (let r = 0; r < rows; r++)
      for (const [from, to] of groupsOf(q, columns)) {
        const order = Array.from({ length: to - from }, (_, i) => r * columns + from + i).sort((a, b) => values[a]! - values[b]!)
        for (let k = 1; k < order.length; k++) {
          const [a, b] = [order[k - 1]!, order[k]!]
          if (there.back[a]! > there.back[b]!) return breach(a, shape, `${show(values[a]!)} becomes ${show(there.back[a]!)}, but ${show(values[b]!)} becomes ${show(there.back[b]!)}`)
        }
      }
    return undefined
  },
}

export const saturates: HostLaw = {
  name: "saturates", letter: "B10",
  statement: "What lies beyond every code becomes the last one; it is neither refused nor lost.",
  broken(q, { shape: [rows, columns], shape, pick }) {
    if (q.levels === undefined || rows * columns === 0) return undefined
    const far = new Float32Array(rows * columns).map((_, i) => ((i + pick) % 2 ? -1 : 1) * 2 ** 100)
    const encoded = q.encode(far, shape), back = q.decode(encoded, shape), last = Math.max(...q.levels(encoded, shape, 0, 0).filter(Number.isFinite))
    const wrong = back.findIndex((v, i) => v !== Math.sign(far[i]!) * last)
    return wrong < 0 ? undefined : breach(wrong, shape, `2¹⁰⁰ becomes ${show(back[wrong]!)}, not ±${show(last)}`)
  },
}
