import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { currentDevice, ThimbleError, useDevice, zeros, type Device } from "@thimble/core"
import { devices, recordedFor } from "../src/devices.ts"
import { openGolden } from "../src/golden.ts"
import { call, runCase, type Inputs, type OpsManifest } from "../src/golden/case.ts"
import { runCasts } from "../src/golden/cast.ts"
import { rows } from "../src/golden/rows.ts"
import { skips } from "../src/golden/skips.ts"

const set = await openGolden<OpsManifest>("ops")
const cases = set.manifest.cases.filter((c) => c.op !== "cast")
const names = [...new Set(cases.map((c) => c.op))]

describe("the table", () => {
  test("has a row or a reason for every recorded op, and no row for anything else", () => {
    expect(names.filter((n) => !(n in rows) && !(n in skips))).toEqual([])
    expect(Object.keys(rows).filter((n) => !names.includes(n))).toEqual([])
  })
  test("skips nothing that it need not skip", () => {
    expect(Object.keys(skips).filter((n) => n in rows || !names.includes(n))).toEqual([])
    for (const { skips: own = {} } of devices) expect(Object.keys(own).filter((n) => !names.includes(n) && !cases.some((c) => c.id === n))).toEqual([])
  })
})

describe.each(devices)("golden ops on $name", (entry) => {
  const { open, skips: own = {} } = entry
  const outer = currentDevice()
  /** What gets few cases makes kernels slowly. */
  const patience = entry.share === undefined ? undefined : 120_000
  let device: Device
  beforeAll(async () => void useDevice((device = await open())))
  afterAll(async () => {
    useDevice(outer)
    await device.close()
  })

  test("cast", async () => expect(await runCasts()).toEqual([]))

  for (const c of recordedFor(entry, cases, ({ op }) => op)) {
    const row = rows[c.op]
    const reason = skips[c.op] ?? own[c.op] ?? own[c.id]
    if (row === undefined || reason !== undefined) test.skip(`${c.id}: ${reason ?? "no row"}`, () => {})
    else if (c.expect_error === true) {
      test(`${c.id} is refused`, async () => {
        const inputs: Inputs = Object.fromEntries(Object.entries(c.input_shapes!).map(([name, shape]) => [name, zeros(shape)]))
        await expect(call(row, inputs, c.params)).rejects.toThrow(ThimbleError)
      })
    } else test(c.id, async () => expect(await runCase(set, c, row)).toEqual([]), patience)
  }
})
