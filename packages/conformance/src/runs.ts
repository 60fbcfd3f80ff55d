import fc from "fast-check"

/** How many random cases each property tries: THIMBLE_RUNS, or few. The seed is fixed, THIMBLE_SEED sets another. */
export const runs = (few: number): number => Number(process.env.THIMBLE_RUNS ?? few)
export const seed = Number(process.env.THIMBLE_SEED ?? 20240229)

/**
 * Tries a property on many cases at once: `faults` says for each case what is wrong. Only if something is, or it throws,
 * does fast-check take the cases one by one, and shrinks the first bad one. One program for all cases is a lot faster.
 */
export async function holds<A>(args: fc.Arbitrary<A>, few: number, faults: (cases: readonly A[]) => Promise<readonly (string | undefined)[]>): Promise<void> {
  const numRuns = runs(few)
  try {
    const found = await faults(fc.sample(args, { numRuns, seed }))
    if (found.every((f) => f === undefined)) return
  } catch { /* one by one, below */ }
  await fc.assert(fc.asyncProperty(args, async (one) => {
    const [fault] = await faults([one])
    if (fault !== undefined) throw new Error(fault)
  }), { numRuns: Math.min(numRuns, 40), seed, endOnFailure: false, interruptAfterTimeLimit: 15_000 })
  throw new Error("the cases fail together, but not one by one")
}
