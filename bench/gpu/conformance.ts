// The conformance table on the adapter: every op against the reference device, as far as time allows.
import { referenceDevice, useDevice } from "@thimble/core"
import fc from "fast-check"
import { argumentsFor } from "../../packages/conformance/src/abilities.ts"
import { difference, evaluate, magnitudeOf, outputsOf } from "../../packages/conformance/src/measure.ts"
import { rows } from "../../packages/conformance/src/table/index.ts"
import { anything } from "../../packages/conformance/src/table/spec.ts"
import type { Part } from "./part.ts"

const abilities = { f64: false, subnormals: false }

export const conformance: Part = {
  name: "conformance",
  seconds: 75,
  async run({ device, row, left, tiny }) {
    const reference = referenceDevice(), wrong: string[] = []
    let passed = 0, cases = 0
    for (const [name, op] of rows) {
      if (left() < 2000 || (tiny && passed >= 12)) break
      try {
        const sampled = fc.sample(op.args(anything).map((a) => argumentsFor(abilities, a)), { numRuns: 3, seed: 20240229 })
        const of = (d: typeof device | typeof reference) => evaluate(d, () => Promise.all(sampled.map((args) => outputsOf(op, args))))
        const want = await of(reference), got = await of(device)
        const faults = sampled.map((args, i) => got[i]!.map((g, k) => difference(g, want[i]![k]!, op.bound, magnitudeOf(args), false)).find((d) => d !== undefined)).filter((f) => f !== undefined)
        cases += sampled.length
        if (faults.length === 0) passed++
        else wrong.push(`${name} (${faults[0]!.slice(0, 120)})`)
      } catch (e) {
        wrong.push(`${name} (${String((e as Error).message).split("\n")[0]!.slice(0, 160)})`)
      }
    }
    useDevice(device)
    row("ops as on the reference device", { passed, failed: wrong.length, "not reached": rows.length - passed - wrong.length, cases })
    for (const w of wrong.slice(0, 20)) row("differs", { what: w })
  },
}
