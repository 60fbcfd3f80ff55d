import { fail } from "@thimble/core"
import type { Measured } from "./metric.ts"
import { meanOfParts } from "./statistics.ts"

export interface Difference {
  readonly metric: string
  /** The first value less the second. */
  readonly value: number
  /** Of the difference, from how it varies between windows or items: both saw the same, so it is smaller than of either. */
  readonly standardError: number
}

/** How a measured value differs between two models (or devices, or settings). Results of unlike protocols are refused. */
export function difference<P extends object>(a: Measured<P>, b: Measured<P>): Difference {
  if (a.metric !== b.metric) fail("value", "difference", `${a.metric} and ${b.metric} cannot be subtracted`)
  const unlike = [...new Set([...Object.keys(a.protocol), ...Object.keys(b.protocol)])] as (keyof P)[]
  const differing = unlike.filter((k) => a.protocol[k] !== b.protocol[k])
  if (differing.length > 0) fail("value", "difference", `results of ${a.metric} by unlike protocols cannot be subtracted: ${differing.map((k) => `${String(k)} ${String(a.protocol[k])} ≠ ${String(b.protocol[k])}`).join(", ")}`, "measure both the same way")
  if (a.parts.length !== b.parts.length || a.parts.some((p, i) => p.count !== b.parts[i]!.count)) fail("value", "difference", `the parts of the two results of ${a.metric} do not match`, "were they changed?")
  const { mean, standardError } = meanOfParts(a.parts.map((p, i) => ({ sum: p.sum - b.parts[i]!.sum, count: p.count })))
  return { metric: a.metric, value: mean, standardError }
}
