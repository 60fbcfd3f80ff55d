import fc from "fast-check"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { referenceDevice, type Device } from "@thimble/core"
import { open } from "../../kernels/src/index.ts"
import { checkLaws, laws, type LawName } from "../src/laws/index.ts"
import { formats } from "./formats.ts"

const runs = Number(process.env.THIMBLE_RUNS ?? 25)
let devices: Device[]
beforeAll(async () => void (devices = [referenceDevice(), await open("wasm", { threads: 2 })]))
afterAll(async () => {
  for (const device of devices) await device.close()
})

describe("every format obeys its laws, and its counterexamples break the others", () => {
  test.each(formats.map((f) => [f.name, f] as const))("%s", async (_, format) => {
    const { obeyed, notObeyed } = await checkLaws(format, { fc, devices, runs })
    expect(new Set(obeyed.map((o) => o.law))).toEqual(new Set(format.laws))
    expect(notObeyed.map((n) => n.law)).toEqual(Object.keys(format.counterexamples ?? {}))
  })
})

test("every law is broken by some format, and obeyed by another, or by all", () => {
  const kept = new Set(formats.flatMap((f) => Object.keys(f.counterexamples ?? {}) as LawName[])), obeyed = new Set(formats.flatMap((f) => f.laws))
  expect([...obeyed].sort()).toEqual(Object.keys(laws).sort())
  expect([...kept].sort()).toEqual(["anyBytes", "chunks", "constant", "extremes", "finite", "groups", "idempotent", "monotone", "nearest", "onGrid", "overflow", "permutation", "ragged", "saturates", "scaling", "sign", "subnormal", "translation", "zero"])
})
