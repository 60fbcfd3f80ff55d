import fc from "fast-check"
import { memory } from "@thimble/core"
import { expect, test } from "vitest"
import { meet, targets } from "../fuzz/targets.ts"

// A short stretch of `pnpm fuzz`.
test.each(Object.keys(targets))("%s: a changed file is read whole, or refused by name with a reason, and nothing is kept of it", async (name) => {
  const counts = { read: 0, refused: 0 }, held = memory().bytes
  await fc.assert(fc.asyncProperty(targets[name]!.files, async (make) => void counts[await meet(targets[name]!, await make())]++), { numRuns: 300, seed: 7 })
  // Both happen often, so that neither is all that is tested.
  expect(Math.min(counts.read, counts.refused)).toBeGreaterThan(15)
  expect(memory().bytes).toBe(held)
})
