import { fail } from "@thimble/core"
import type { Score } from "../score.ts"

/** How large weights are: |w| (`l1`, unless given) or w² (`l2`), which rank single weights alike, and what goes together differently. */
export function magnitude(norm: "l1" | "l2" = "l1"): Score {
  if (norm !== "l1" && norm !== "l2") fail("value", "magnitude", `the norm must be l1 or l2, got ${String(norm)}`)
  return { name: `magnitude ${norm}`, toJSON: () => ({ score: "magnitude", norm }), of: ({ values }) => Float64Array.from(values, norm === "l1" ? Math.abs : (w) => w * w) }
}
