// C: what depends on what, and on which order.
import { show } from "./bounds.ts"
import { differing, groupsOf, roundTrip, type HostLaw } from "./law.ts"
import { shuffled } from "./values.ts"

export const groups: HostLaw = {
  name: "groups", letter: "C1",
  statement: "Changing one group (or what shares its bytes) leaves all others as they were.",
  broken(q, { values, shape: [rows, columns], shape, pick }) {
    const spans = groupsOf({ group: q.span ?? q.group }, columns), count = rows * spans.length
    if (count < 2) return undefined
    const which = pick % count, [from, to] = spans[which % spans.length]!, first = Math.floor(which / spans.length) * columns
    const inside = (i: number): boolean => i >= first + from && i < first + to
    const changed = values.map((v, i) => (inside(i) ? Math.max(-certainly, Math.min(certainly, -3 * v + 1)) : v))
    const before = roundTrip(q, values, shape), after = roundTrip(q, changed, shape)
    if (before === undefined || after === undefined) return undefined
    const at = differing(before.back, after.back, shape, (i) => !inside(i))
    return at && { at, problem: `x̂ goes from ${show(before.back[at.i]!)} to ${show(after.back[at.i]!)} when columns ${from} to ${to - 1} of row ${first / columns} change` }
  },
}
const certainly = 3e38

export const permutation: HostLaw = {
  name: "permutation", letter: "C2",
  statement: "Permuting the elements of a group permutes what they decode to.",
  broken(q, { values, shape: [rows, columns], shape, pick }) {
    const source = new Int32Array(rows * columns)
    for (let r = 0; r < rows; r++)
      for (const [from, to] of groupsOf(q, columns)) shuffled(to - from, pick + r).forEach((p, i) => (source[r * columns + from + i] = r * columns + from + p))
    const plain = roundTrip(q, values, shape), other = roundTrip(q, values.map((_, i) => values[source[i]!]!), shape)
    if (plain === undefined || other === undefined) return undefined
    const at = differing(plain.back.map((_, i) => plain.back[source[i]!]!), other.back, shape)
    return at && { at, problem: `x̂ = ${show(plain.back[source[at.i]!]!)} becomes ${show(other.back[at.i]!)} in another order` }
  },
}

export const rows: HostLaw = {
  name: "rows", letter: "C3",
  statement: "Permuting rows permutes what they decode to.",
  broken(q, { values, shape: [count, columns], shape, pick }) {
    const order = shuffled(count, pick), row = (i: number): number => order[Math.floor(i / columns)]! * columns + (i % columns)
    const plain = roundTrip(q, values, shape), other = roundTrip(q, values.map((_, i) => values[row(i)]!), shape)
    if (plain === undefined || other === undefined) return undefined
    const at = differing(plain.back.map((_, i) => plain.back[row(i)]!), other.back, shape)
    return at && { at, problem: `x̂ = ${show(plain.back[row(at.i)]!)} becomes ${show(other.back[at.i]!)} when rows change places` }
  },
}

export const views: HostLaw = {
  name: "views", letter: "C4",
  statement: "A view into a larger buffer is encoded as a copy of it is, and left as it was.",
  broken(q, { values, shape, pick }) {
    const offset = 1 + (pick % 3), room = new Float32Array(values.length + offset + 2).fill(1e3)
    const view = room.subarray(offset, offset + values.length)
    view.set(values)
    const plain = roundTrip(q, values.slice(), shape), other = roundTrip(q, view, shape)
    if (plain === undefined || other === undefined) return undefined
    const written = differing(view, values, shape)
    if (written) return { at: written, problem: `encoding changed the input from ${show(values[written.i]!)} to ${show(view[written.i]!)}` }
    const at = differing(plain.back, other.back, shape)
    return at && { at, problem: `a copy becomes ${show(plain.back[at.i]!)}, a view ${show(other.back[at.i]!)}` }
  },
}

export const ragged: HostLaw = {
  name: "ragged", letter: "D5",
  statement: "A last group that is shorter decodes as it would alone: what is missing counts for nothing. No rows or columns are no values.",
  broken(q, { values, shape: [count, columns], shape }) {
    const unit = q.unit ?? 1
    for (const empty of [[0, Math.max(columns, unit)], [count, 0]] as const) {
      const nothing = q.decode(q.encode(new Float32Array(0), empty), empty)
      if (nothing.length !== 0) return { problem: `a matrix of ${empty.join(" by ")} decodes to ${nothing.length} values` }
    }
    const last = groupsOf({ group: q.span ?? q.group }, columns).at(-1)
    if (last === undefined) return undefined
    const width = last[1] - last[0], tail = new Float32Array(count * width)
    for (let i = 0; i < tail.length; i++) tail[i] = values[Math.floor(i / width) * columns + last[0] + (i % width)]!
    const whole = roundTrip(q, values, shape), alone = roundTrip(q, tail, [count, width])
    if (whole === undefined || alone === undefined) return undefined
    const at = differing(tail.map((_, i) => whole.back[Math.floor(i / width) * columns + last[0] + (i % width)]!), alone.back, [count, width])
    return at && { at: { row: at.row, column: last[0] + at.column }, problem: `x̂ = ${show(whole.back[at.row * columns + last[0] + at.column]!)}, alone ${show(alone.back[at.i]!)}` }
  },
}

export const chunks: HostLaw = {
  name: "chunks", letter: "F1",
  statement: "Rows that are encoded by themselves decode to what they do in the whole matrix: who encodes which rows does not matter.",
  broken(q, { values, shape: [count, columns], shape, pick }) {
    const cut = count === 0 ? 0 : 1 + (pick % count), whole = roundTrip(q, values, shape)
    if (whole === undefined) return undefined
    for (const [from, to] of [[0, cut], [cut, count]] as const) {
      const own = to > from ? roundTrip(q, values.slice(from * columns, to * columns), [to - from, columns]) : undefined
      const at = own && differing(whole.back.subarray(from * columns, to * columns), own.back, shape)
      if (at) return { at: { row: at.row + from, column: at.column }, problem: `x̂ = ${show(whole.back[at.i + from * columns]!)}, and ${show(own.back[at.i]!)} when rows ${from} to ${to - 1} are encoded alone` }
    }
    return undefined
  },
}
