import type { TestedDevice } from "./devices.ts"
import { rows, type OpName } from "./table/index.ts"

/** What the page says of a device. */
export type Column = Pick<TestedDevice, "name" | "tried" | "f64" | "subnormals" | "skips" | "unsupported">

const line = (list: readonly string[]): string => `| ${list.join(" | ")} |`
const table = (heads: readonly string[], cells: readonly (readonly string[])[]): string[] => [line(heads), line(heads.map(() => "---")), ...cells.map(line)]

/** What a device lacks, in words: what is asked of it instead, and what is skipped. */
export function lacksOf({ f64 = true, subnormals = true, skips = {} }: Column): string[] {
  const bySkip = Map.groupBy(Object.keys(skips), (id) => skips[id]!)
  return [
    ...(f64 ? [] : ["no f64: an op of it throws; tensors of it are stored and moved"]),
    ...(subnormals ? [] : ["numbers below 2⁻¹²⁶ may count as zero"]),
    ...[...bySkip].map(([reason, ids]) => `recorded values ${ids.map((id) => `\`${id}\``).join(", ")} are skipped: ${reason}`),
  ]
}

const boundOf = (name: OpName): string => {
  const { bound } = rows.find(([n]) => n === name)![1]
  return bound === "exact" ? "same bits" : "ulps" in bound ? `${bound.ulps} ulp` : `${bound.scale} of scale`
}
const gradientOf = (name: OpName): string => {
  const { gradient } = rows.find(([n]) => n === name)![1]
  return typeof gradient === "string" ? gradient : `none: ${gradient.none}`
}

/** The page of what runs where. Devices with equal columns share one. */
export function supportPage(devices: readonly Column[]): string {
  const names = rows.map(([name]) => name).sort()
  const columns = Map.groupBy(devices, ({ unsupported = {} }) => names.map((n) => (unsupported[n] === undefined ? "yes" : `no: ${unsupported[n]}`)).join("\n"))
  const heads = columns.size === 1 ? ["every device"] : [...columns.values()].map((group) => group.map((d) => d.name).join("; "))
  const cells = [...columns.keys()].map((key) => key.split("\n"))
  return [
    "---", "title: Support", "---", "", "# What runs where", "",
    "Written by `pnpm --filter @thimble/conformance support` from the table of ops and the list of devices that the tests run on.",
    "The tests fail where this page says anything else than those, where an op differs on a device from the reference device,",
    "and where a device has what the page says it lacks.", "",
    "## Devices", "",
    "What a device is tried with: its *ops* one by one, and fused formulas of special values; its *kernels*, that is also gradients, the",
    "formats of weights and the demo model, its greedy text and gradients; *everything*, which is also random numbers, and recorded",
    "values of ops and optimizers. Where kernels take long to make, as shaders for a GPU that is not there and gpu.js on pages do,",
    "each op and format gets few cases.", "",
    ...table(["device", "in Node", "on pages", "lacks"], devices.map((d) => [`\`${d.name}\``, d.tried.Node ?? "", d.tried.pages ?? "", lacksOf(d).join("; ") || "nothing"])), "",
    "## Ops", "",
    "*Agreement* is how near a device must come to the reference device: the same bits, units in the last place of each element, or",
    "a share of the largest element. *Gradient* says how often it can be differentiated, as checked against differences; `twice`",
    "means that its gradient has a gradient.", "",
    ...table(["op", "agreement", "gradient", ...heads], names.map((name, i) => [`\`${name}\``, boundOf(name), gradientOf(name), ...cells.map((c) => c[i]!)])), "",
  ].join("\n")
}
