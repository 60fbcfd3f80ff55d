// D: values at the ends of their types, and what are none.
import { show } from "./bounds.ts"
import { breach, roundTrip, type HostLaw } from "./law.ts"
import { ordinary } from "./values.ts"

export const finite: HostLaw = {
  name: "finite", letter: "D1",
  statement: "NaN and infinities are refused, with their place: its row and column, or its flat index.",
  kinds: ordinary,
  broken(q, { values, shape: [, columns], shape, pick }) {
    if (values.length === 0) return undefined
    const at = pick % values.length, wrong = values.slice(), bad = [NaN, Infinity, -Infinity][pick % 3]!
    wrong[at] = bad
    const row = Math.floor(at / columns), column = at % columns
    try {
      q.encode(wrong, shape)
    } catch (error) {
      const { message } = error as Error
      const placed = new RegExp(`\\b${at}\\b`).test(message) || (new RegExp(`\\b${row}\\b`).test(message) && new RegExp(`\\b${column}\\b`).test(message))
      return placed ? undefined : breach(at, shape, `${bad} is refused, but not with its place: ${message}`)
    }
    return breach(at, shape, `${bad} is taken`)
  },
}

export const subnormal: HostLaw = {
  name: "subnormal", letter: "D2",
  statement: "Groups too small for a scale become finite numbers no farther away than the group is large.",
  kinds: ["subnormal", "small"],
  broken(q, { values, shape }) {
    const there = roundTrip(q, values, shape)
    if (there === undefined) return undefined
    const amax = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0)
    const wrong = there.back.findIndex((v, i) => !(Math.abs(v - values[i]!) <= amax))
    return wrong < 0 ? undefined : breach(wrong, shape, `${show(values[wrong]!)} becomes ${show(there.back[wrong]!)} in a matrix that reaches ${show(amax)}`)
  },
}

export const overflow: HostLaw = {
  name: "overflow", letter: "D3",
  statement: "Values beyond what a format reaches are refused, or decode to finite numbers; never to NaN or an infinity.",
  kinds: ["large", "huge"],
  broken(q, { values, shape }) {
    const there = roundTrip(q, values, shape)
    const wrong = there ? there.back.findIndex((v) => !Number.isFinite(v)) : -1
    return wrong < 0 ? undefined : breach(wrong, shape, `${show(values[wrong]!)} becomes ${there!.back[wrong]}`)
  },
}
