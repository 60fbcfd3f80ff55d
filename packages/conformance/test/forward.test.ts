import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { referenceDevice, type Device } from "@thimble/core"
import * as ops from "../../core/src/ops/index.ts"
import { argumentsFor, casesFor, cornersFor, opDevices, sharedBy } from "../src/devices.ts"
import { difference, evaluate, magnitudeOf, outputsOf, type Result } from "../src/measure.ts"
import { holds } from "../src/runs.ts"
import { rows } from "../src/table/index.ts"
import { anything } from "../src/table/spec.ts"

test("every op has a row, and every row is an op", () => {
  expect(rows.map(([name]) => name).sort()).toEqual(Object.entries<unknown>(ops).flatMap(([name, f]) => (typeof f === "function" ? [name] : [])).sort())
})

const reference = referenceDevice()
/** What the reference device gives for all cases of a row; the same cases for every device. */
const expected = new Map<string, Promise<Result[][]>>()

describe.each(opDevices)("ops on $name are those of the reference device", (entry) => {
  const { open, unsupported = {}, mayRefuse = () => false } = entry
  let device: Device
  beforeAll(async () => void (device = await open()))
  afterAll(() => device.close())

  for (const [name, row] of rows) {
    const reason = unsupported[name]
    if (reason !== undefined) test.skip(`${name}: ${reason}`, () => {})
    else test(name, () => holds(row.args(anything).map((args) => argumentsFor(entry, args)), casesFor(entry, 14), async (cases) => {
      const run = (d: Device, some = cases): Promise<Result[][]> => evaluate(d, () => Promise.all(some.map((args) => outputsOf(row, args))))
      /** One by one where some are refused; those have no results. */
      const unlessRefused = (some: readonly unknown[]): Promise<(Result[] | undefined)[]> => run(device, some).catch(async (e: unknown) => {
        if (!mayRefuse(e)) throw e
        const each: (Result[] | undefined)[] = []
        for (const one of some) each.push(some.length === 1 ? undefined : (await unlessRefused([one]))[0])
        return each
      })
      let want = cases.length > 1 ? expected.get(sharedBy(entry, name)) : undefined
      if (want === undefined) {
        want = run(reference)
        if (cases.length > 1) expected.set(sharedBy(entry, name), want)
        await want
      }
      const got = await unlessRefused(cases), known = await want
      return cases.map((args, i) => got[i]?.map((g, k) => difference(g, known[i]![k]!, row.bound, magnitudeOf(args), entry.subnormals)).find((d) => d !== undefined))
    }, cornersFor(entry, row.corners)))
  }
})
