import fc from "fast-check"
import type { Device } from "@thimble/core"
import { argumentsFor, casesFor, cornersFor, type DeviceRow } from "./abilities.ts"
import { difference, evaluate, magnitudeOf, outputsOf } from "./measure.ts"
import { seed } from "./runs.ts"
import { rows, type OpName } from "./table/index.ts"
import { anything } from "./table/spec.ts"

/** What became of an op on a device: it ran as the reference device does, it is skipped, or what went wrong. */
export type Support = "yes" | { readonly skipped: string } | { readonly wrong: string }

/** Tries every op of the table on a device. */
export async function supportOf(device: Device, reference: Device, entry: Omit<DeviceRow, "name" | "open"> = {}): Promise<Map<OpName, Support>> {
  const { unsupported = {} } = entry
  const found = new Map<OpName, Support>()
  for (const [name, row] of rows) {
    const skipped = unsupported[name]
    if (skipped !== undefined) {
      found.set(name, { skipped })
      continue
    }
    const cases = [...cornersFor(entry, row.corners), ...fc.sample(row.args(anything), { numRuns: casesFor(entry, 4), seed }).map((args) => argumentsFor(entry, args))]
    const run = (d: Device) => evaluate(d, () => Promise.all(cases.map((args) => outputsOf(row, args))))
    try {
      const [want, got] = [await run(reference), await run(device)]
      const wrong = cases.flatMap((args, i) => got[i]!.map((g, k) => difference(g, want[i]![k]!, row.bound, magnitudeOf(args), entry.subnormals))).find((d) => d !== undefined)
      found.set(name, wrong === undefined ? "yes" : { wrong })
    } catch (e) {
      found.set(name, { wrong: e instanceof Error ? e.message.split("\n")[0]! : String(e) })
    }
  }
  return found
}
