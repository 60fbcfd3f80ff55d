import fc from "fast-check"
import type { Device } from "@thimble/core"
import { argumentsFor, type DeviceRow } from "./abilities.ts"
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
    const cases = [...(row.corners ?? []), ...fc.sample(row.args(anything), { numRuns: 4, seed })].map((args) => argumentsFor(entry, args))
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

const cell = (s: Support): string => (s === "yes" ? "yes" : "skipped" in s ? `no: ${s.skipped}` : `wrong: ${s.wrong}`)
const boundOf = (name: OpName): string => {
  const { bound } = rows.find(([n]) => n === name)![1]
  return bound === "exact" ? "same bits" : "ulps" in bound ? `${bound.ulps} ulp` : `${bound.scale} of scale`
}
const gradientOf = (name: OpName): string => {
  const { gradient } = rows.find(([n]) => n === name)![1]
  return typeof gradient === "string" ? gradient : `none: ${gradient.none}`
}

/** The page of what runs where. Devices with equal columns share one. */
export function supportPage(devices: readonly { readonly name: string; readonly support: ReadonlyMap<OpName, Support> }[]): string {
  const names = rows.map(([name]) => name).sort()
  const columns = new Map<string, string[]>()
  for (const { name, support } of devices) {
    const key = names.map((n) => cell(support.get(n)!)).join("\n")
    columns.set(key, [...(columns.get(key) ?? []), name])
  }
  const heads = [...columns.values()].map((group) => group.join("; "))
  const cells = [...columns.keys()].map((key) => key.split("\n"))
  const line = (list: readonly string[]): string => `| ${list.join(" | ")} |`
  return [
    "---", "title: Support", "---", "", "# What runs where", "",
    "Written by `pnpm --filter @thimble/conformance support` from the table of ops: every op is tried on every device and",
    "compared with the reference device. *Agreement* is how near a device must come: the same bits, units in the last place",
    "of each element, or a share of the largest element. *Gradient* says how often it can be differentiated, as checked",
    "against differences; `twice` means that its gradient has a gradient.", "",
    line(["op", "agreement", "gradient", ...heads]), line(["---", "---", "---", ...heads.map(() => "---")]),
    ...names.map((name, i) => line([`\`${name}\``, boundOf(name), gradientOf(name), ...cells.map((c) => c[i]!)])), "",
  ].join("\n")
}
