import { fail } from "@thimble/core"
import type { Scores, Stopping } from "./options.ts"

/** The best score so far, and how many evaluations ago it was. */
export interface Best { readonly step: number; readonly score: number; readonly since: number }

/** What an evaluation says about going on. */
export function judge({ score: name, patience, by = 0, better = "lower" }: Stopping, best: Best | undefined, step: number, scores: Scores): { readonly best: Best; readonly improved: boolean; readonly enough: boolean } {
  const score = scores[name] ?? fail("value", "stop", `the evaluation gave no '${name}'`, `it gave ${Object.keys(scores).join(", ") || "nothing"}`)
  const improved = best === undefined || (better === "lower" ? score < best.score - by : score > best.score + by)
  const now = improved ? { step, score, since: 0 } : { ...best!, since: best!.since + 1 }
  return { best: now, improved, enough: now.since >= patience }
}
