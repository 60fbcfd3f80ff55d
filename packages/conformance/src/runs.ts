import fc from "fast-check"

/** How many random cases each property tries: THIMBLE_RUNS, or few. The seed is fixed, THIMBLE_SEED sets another. */
export const runs = (few: number): number => Number(process.env.THIMBLE_RUNS ?? few)
export const seed = Number(process.env.THIMBLE_SEED ?? 20240229)

/**
 * Tries a property on given and on random cases at once: `faults` says for each case what is wrong. Only if something is, or it throws,
 * does fast-check take the cases one by one, and shrinks the first bad one. One program for all cases is a lot faster.
 */
export async function holds<A>(args: fc.Arbitrary<A>, few: number, faults: (cases: readonly A[]) => Promise<readonly (string | undefined)[]>, given: readonly A[] = []): Promise<void> {
  const numRuns = runs(few)
  try {
    const found = await faults([...given, ...fc.sample(args, { numRuns, seed })])
    if (found.every((f) => f === undefined)) return
  } catch { /* one by one, below */ }
  for (const one of given) {
    const [fault] = await faults([one])
    if (fault !== undefined) throw new Error(`${fc.stringify(one)}: ${fault}`)
  }
  await fc.assert(fc.asyncProperty(args, async (one) => {
    const [fault] = await faults([one])
    if (fault !== undefined) throw new Error(fault)
  }), { numRuns: Math.min(numRuns, 40), seed, endOnFailure: false, interruptAfterTimeLimit: 15_000 })
  throw new Error("the cases fail together, but not one by one")
}
