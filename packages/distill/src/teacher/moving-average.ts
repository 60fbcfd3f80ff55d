import { fail } from "@thimble/core"
import type { Follower } from "./teacher.ts"

/** A teacher that is the student's own parameters, averaged over its steps: a ← d·a + (1 − d)·p (Mean Teacher: Tarvainen and Valpola, 2017, arXiv:1703.01780). */
export function movingAverage({ decay = 0.999 }: Partial<Follower> = {}): Follower {
  if (!(decay >= 0 && decay < 1)) fail("value", "movingAverage", `decay must be in 0 ≤ decay < 1, got ${decay}`)
  return { decay }
}
