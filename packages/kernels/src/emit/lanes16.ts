// What integer expressions can be computed in sixteen byte lanes, and how their loads lie.
import { bytesOf, expr, flatten, type Expr } from "@thimble/core"

/** Coordinates that stand for the run of blocks and the lane; no kernel has that many axes. */
export const runAxis = 30, laneAxis = 31

/** Whether lanes differ, or runs. */
export const varies = (e: Expr, axis = laneAxis): boolean => flatten([e]).some((x) => x.op === "index" && x.value === axis)
const isLane = (e: Expr): boolean => e.op === "index" && e.value === laneAxis

/** Sixteen neighbours: an address that the lane is added to, and that is otherwise the same for all lanes. */
export function isRun({ src: [at] }: Expr): boolean {
  const { terms } = expr.sumOf(at!)
  return [...terms].every(([t, k]) => (isLane(t) ? k === 1 : !varies(t))) && [...terms.keys()].some(isLane)
}
/** Of integer arithmetic on the lane alone: sixteen constants. */
function lanesOf(e: Expr): readonly number[] | undefined {
  const meaning: Partial<Record<Expr["op"], (a: number, b: number) => number>> = { add: (a, b) => a + b, mul: (a, b) => a * b, div: (a, b) => Math.trunc(a / b), rem: (a, b) => a % b }
  const value = (x: Expr, lane: number): number =>
    x.op === "const" ? x.value : isLane(x) ? lane : meaning[x.op] && x.src.length === 2 ? meaning[x.op]!(value(x.src[0]!, lane), value(x.src[1]!, lane)) : NaN
  const all = Array.from({ length: 16 }, (_, lane) => value(e, lane))
  return all.every(Number.isInteger) ? all : undefined
}
/** Which of a few neighbouring bytes each lane takes. */
export interface Spread { readonly lanes: readonly number[] }
/** An address that a constant of each lane's own is added to. */
export function spreadOf({ src: [at] }: Expr): Spread | undefined {
  const { terms } = expr.sumOf(at!)
  const own = [...terms].filter(([t]) => varies(t)), sums = own.map(([t]) => lanesOf(t))
  if (own.length === 0 || sums.includes(undefined)) return undefined
  const lanes = Array.from({ length: 16 }, (_, lane) => own.reduce((n, [, k], i) => n + k * sums[i]![lane]!, 0))
  return lanes.every((n) => n >= 0 && n < 16) ? { lanes } : undefined
}
/** One bit of each lane, wherever it stands there: a shift by as much as the lane says, and the rest of it by two. */
export function bitOf({ op, src: [a, b] }: Expr): readonly number[] | undefined {
  if (op !== "rem" || b!.op !== "const" || b!.value !== 2 || a!.op !== "shr" || !varies(a!.src[1]!)) return undefined
  const lanes = lanesOf(a!.src[1]!)
  return lanes?.every((n) => n >= 0 && n < 8) && expressible(a!.src[0]!) ? lanes : undefined
}
/** An entry of a table of at most sixteen bytes. */
export const isLookUp = ({ src: [at] }: Expr): boolean => at!.low >= 0 && at!.high <= 15 && expressible(at!)

/** Whether byte arithmetic gives the expression's value: every step fits in eight bits and has an instruction. */
export function expressible(e: Expr): boolean {
  if (e.op === "const") return true
  if (e.low < -128 || e.high > 255) return false
  switch (e.op) {
    case "load": return bytesOf(e.dtype!) === 1 && (isRun(e) || isLookUp(e) || spreadOf(e) !== undefined)
    case "cast": return e.type !== "bool" && e.src[0]!.type !== "bool" && e.src[0]!.type !== "f32" && expressible(e.src[0]!)
    case "add": case "sub": case "and": case "or": case "xor": return e.src.every(expressible)
    case "shl": return e.src[1]!.op === "const" && expressible(e.src[0]!)
    case "shr": return (e.src[1]!.op === "const" || (e.src[0]!.low >= 0 && e.src[1]!.high < 8 && !varies(e.src[1]!))) && expressible(e.src[0]!)
    case "div": case "rem": {
      const [a, b] = e.src as [Expr, Expr]
      return bitOf(e) !== undefined || b.op === "const" && Number.isInteger(Math.log2(b.value)) && a.low >= 0 && expressible(a)
    }
    default: return false
  }
}

/** Whether b is a with all that is loaded for its lanes `by` bytes further on. */
export function isShifted(a: Expr, b: Expr, by: number): boolean {
  if (a.op !== b.op || a.type !== b.type || a.value !== b.value || a.dtype !== b.dtype || a.src.length !== b.src.length) return false
  if (a.op === "load" && isRun(a) && isRun(b)) {
    const [from, to] = [a, b].map((e) => expr.sumOf(e.src[0]!)) as [ReturnType<typeof expr.sumOf>, ReturnType<typeof expr.sumOf>]
    return to.rest - from.rest === by && from.terms.size === to.terms.size && [...from.terms].every(([t, k]) => to.terms.get(t) === k)
  }
  return a.src.every((s, i) => isShifted(s, b.src[i]!, by))
}
