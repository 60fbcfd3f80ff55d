import { afterAll, beforeAll, describe, test } from "vitest"
import { referenceDevice, type Device, type Tensor } from "@thimble/core"
import { argumentsFor, casesFor, kernelDevices, sharedBy } from "../src/devices.ts"
import { difference, evaluate, magnitudeOf, probe, stride, type Result } from "../src/measure.ts"
import { holds } from "../src/runs.ts"
import { rows } from "../src/table/index.ts"
import { differentiable } from "../src/table/spec.ts"

const reference = referenceDevice()
const checked = rows.filter(([, { gradient }]) => typeof gradient === "string")
/** Central differences err by h² times a third derivative, and by the rounding of the loss over h. */
const bound = 2e-6

describe.each([1, 2] as const)("derivative %i is the slope, in f64", (order) => {
  for (const [name, row] of checked) {
    if (order === 2 && row.gradient !== "twice") continue
    test(name, () => holds(row.args(differentiable), 5, async (cases) => {
      const results = await evaluate(reference, () => Promise.all(cases.map(async (args): Promise<Tensor[]> => {
        const p = await probe(row, args, "f64", order)
        return p === undefined ? [] : [p.slope, p.ahead, p.behind, ...p.gradients]
      })))
      return results.map((r) => {
        if (r.length === 0) return undefined
        const [slope, ahead, behind] = r.map((x) => x.numbers[0]!) as [number, number, number]
        const measured = (ahead - behind) / (2 * stride)
        const size = r.slice(3).reduce((m, g) => g.numbers.reduce((n, v) => Math.max(n, Math.abs(v)), m), Math.max(1, Math.abs(measured), Math.abs(ahead) * 1e-3))
        return Math.abs(slope - measured) <= bound * size ? undefined : `the gradient's slope is ${slope}, the measured one ${measured}`
      })
    }))
  }
})

const expected = new Map<string, Promise<Result[][]>>()
describe.each(kernelDevices.slice(1))("gradients on $name are those of the reference device", (entry) => {
  const { open, unsupported = {} } = entry
  let device: Device
  beforeAll(async () => void (device = await open()))
  afterAll(() => device.close())

  for (const [name, row] of checked) {
    const reason = unsupported[name]
    if (reason !== undefined) test.skip(`${name}: ${reason}`, () => {})
    else test(name, () => holds(row.args(differentiable).map((args) => argumentsFor(entry, args)), casesFor(entry, 5, 1), async (cases) => {
      const run = (d: Device): Promise<Result[][]> => evaluate(d, () => Promise.all(cases.map(async (args) => (await probe(row, args, "f32"))?.gradients ?? [])))
      let want = cases.length > 1 ? expected.get(sharedBy(entry, name)) : undefined
      if (want === undefined) {
        want = run(reference)
        if (cases.length > 1) expected.set(sharedBy(entry, name), want)
      }
      const known = await want, got = await run(device)
      return cases.map((args, i) => got[i]!.map((g, k) => difference(g, known[i]![k]!, { scale: 2e-5 }, magnitudeOf(args), entry.subnormals)).find((d) => d !== undefined))
    }))
  }
})
