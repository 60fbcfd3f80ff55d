// A: how far a value and what it decodes to may be apart.
import type { Quantizer } from "../quantizer.ts"
import { breach, roundTrip, type Breach, type Case, type HostLaw } from "./law.ts"
import { ordinary, numbers } from "./values.ts"

export const bound = {
  name: "bound", letter: "A1–A9",
  statement: "|x − x̂| ≤ errorBound(E(x)) for every element that decodes to a number.",
  broken<E>(q: Quantizer<E>, { values, shape }: Case): Breach | undefined {
    const there = roundTrip(q, values, shape)
    if (there === undefined) return undefined
    const bounds = q.errorBound(there.encoded, shape, values)
    for (let i = 0; i < values.length; i++) {
      // Overflow is another law.
      if (Math.abs(there.back[i]!) === Infinity) continue
      const error = Math.abs(values[i]! - there.back[i]!), limit = bounds[i]!
      if (!(limit < Infinity)) return breach(i, shape, `the bound is ${limit}, which promises nothing`)
      if (!(error <= limit)) return breach(i, shape, `|x − x̂| = ${show(error)} is more than the bound of ${show(limit)}`)
    }
    return undefined
  },
} satisfies HostLaw

export const oneSided: HostLaw = {
  name: "oneSided", letter: "D6",
  statement: "Groups without a zero between their ends, all positive or all negative, obey the same bound.",
  kinds: ordinary,
  broken(q, { values, shape, pick }) {
    const shift = pick % 2 === 0 ? 1 : -1
    return bound.broken(q, { values: values.map((v) => shift * (Math.abs(v) + (pick % 5) + 2 ** -4)), shape, pick })
  },
}

export const outputBound: HostLaw = {
  name: "outputBound", letter: "A10",
  statement: "Every output of the matrix changes by at most Σ errorBound · |input|.",
  kinds: ordinary,
  broken(q, { values, shape: [rows, columns], shape, pick }) {
    const there = roundTrip(q, values, shape)
    if (there === undefined) return undefined
    const bounds = q.errorBound(there.encoded, shape, values), next = numbers(pick), input = Float64Array.from({ length: columns }, () => 2 * next() - 1)
    for (let r = 0; r < rows; r++) {
      let change = 0, limit = 0, size = 0
      for (let c = 0, i = r * columns; c < columns; c++, i++) {
        change += (values[i]! - there.back[i]!) * input[c]!
        limit += bounds[i]! * Math.abs(input[c]!)
        size += Math.abs(values[i]! * input[c]!)
      }
      if (!(Math.abs(change) <= limit + size * columns * 2 ** -52)) return { problem: `output ${r} changes by ${show(Math.abs(change))}, more than ${show(limit)}` }
    }
    return undefined
  },
}

/** A number as reports print it. */
export const show = (v: number): string => (Number.isInteger(v) && Math.abs(v) < 1e9 ? `${v}` : Number(v.toPrecision(8)).toString())
