// What templates have in common when they read operands.
import { bytesOf, flatten, type Expr } from "@thimble/core"
import type { Lanes, Operand } from "./holes.ts"

/** Neighbours that lie in sixteen bytes of an operand's narrowest part, of which `most` are wanted. */
export function lanesFor({ body }: Operand, size: number, most: Lanes = 16): Lanes {
  const narrowest = flatten([body]).reduce((least, e) => (e.op === "load" ? Math.min(least, bytesOf(e.dtype!)) : least), 4)
  for (const lanes of [16, 8, 4] as const) if (lanes <= most && lanes * narrowest <= 16 && size % lanes === 0) return lanes
  return 4
}
/** The vectors of four that a value of so many lanes consists of. */
export const quarters = (name: string, lanes: Lanes): string[] => (lanes <= 4 ? [name] : Array.from({ length: lanes / 4 }, (_, i) => `${name}[${i}]`))

/** Operations of which a few for each element take longer than another pass. */
const slow: ReadonlySet<string> = new Set(["div", "rem", "sqrt", "exp", "log", "pow", "sin", "cos", "atan", "tanh", "erf"])
/** Whether elements are there about as fast as if they were stored: many threads may read the same ones. */
export function readsFast(x: Expr): boolean {
  const all = flatten([x])
  return all.length <= 24 && all.filter((e) => e.op === "load").length <= 2 && !all.some((e) => e.type === "f32" && slow.has(e.op))
}
