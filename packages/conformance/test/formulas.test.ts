import { afterAll, beforeAll, describe, expect, test } from "vitest"
import {
  abs, castTo, ceil, div, eq, floor, ge, gt, isFinite, isNaN, le, logicalAnd, logicalNot, lt, maximum, minimum, mul, ne, neg, referenceDevice, round, sub, sum, trunc, where,
  type Device, type Tensor,
} from "@thimble/core"
import { argumentsFor, opDevices, sharedBy, type DeviceRow } from "../src/devices.ts"
import { difference, evaluate } from "../src/measure.ts"
import { couples } from "../src/table/corners.ts"

// A device may have one instruction for what these say in several. Two special values meet in all of them, in every way.
const constants = [0, -0, 1, -2.5, Infinity, -Infinity, NaN]
const formulas: Readonly<Record<string, (a: Tensor, b: Tensor) => Tensor>> = {
  "the smaller, or the second": (a, b) => where(lt(a, b), a, b),
  "the smaller, or the first": (a, b) => where(lt(b, a), b, a),
  "the larger, or the second": (a, b) => where(gt(a, b), a, b),
  "the larger, or the first": (a, b) => where(lt(a, b), b, a),
  "the smaller or equal": (a, b) => where(le(a, b), a, b),
  "the larger or equal": (a, b) => where(ge(a, b), a, b),
  ...Object.fromEntries(constants.flatMap((c) => {
    const name = Object.is(c, -0) ? "-0" : String(c)
    return [
      [`at least ${name}`, (a: Tensor) => maximum(a, c)], [`at most ${name}`, (a: Tensor) => minimum(a, c)],
      [`smaller than ${name}, or that`, (a: Tensor) => where(lt(a, c), a, c)], [`${name}, or smaller`, (a: Tensor) => where(lt(c, a), c, a)],
    ]
  })),
  "within bounds": (a, b) => minimum(maximum(a, -1), maximum(b, 2)),
  "the opposite of the largest opposite": (a, b) => neg(maximum(neg(a), neg(b))),
  "0 where not": (a, b) => where(lt(a, b), a, 0),
  "0 where so": (a, b) => where(lt(a, b), 0, b),
  "-0 where so": (a, b) => where(le(a, b), -0, b),
  "not equal": (a, b) => where(logicalNot(eq(a, b)), a, neg(b)),
  "unequal": (a, b) => where(ne(a, b), a, neg(b)),
  "both are numbers": (a, b) => castTo(logicalAnd(isNaN(a), isFinite(b)), "f32"),
  "a truth as a number": (a, b) => sub(castTo(le(a, b), "f32"), castTo(castTo(a, "bool"), "f32")),
  "the sign": (a, b) => mul(where(lt(a, 0), -1, 1), abs(b)),
  "whole parts": (a, b) => sub(sub(floor(a), ceil(b)), sub(trunc(a), round(b))),
  "an integer and back": (a, b) => sub(castTo(castTo(a, "i32"), "f32"), castTo(castTo(b, "u32"), "f32")),
  "a byte and back": (a, b) => sub(castTo(castTo(a, "i8"), "f32"), castTo(castTo(b, "u8"), "f32")),
  "halves and back": (a, b) => sub(castTo(castTo(a, "f16"), "f32"), castTo(castTo(b, "bf16"), "f32")),
  "a quotient": (a, b) => div(a, abs(b)),
  "a reduction's operand": (a, b) => sum(where(lt(a, b), 1, 0), { axis: -1 }),
}

const reference = referenceDevice()
const run = (device: Device, entry: DeviceRow) => evaluate(device, () => Promise.resolve(Object.values(formulas).map((formula) => argumentsFor(entry, couples(["f32"])).map(([a, b]) => formula(a.make(), b.make())))))
const expected = new Map<string, ReturnType<typeof run>>()

// All at once they read more than windows of 256 bytes let through.
describe.each(opDevices.slice(1).filter((d) => d.mayRefuse === undefined))("special values in fused formulas on $name", (entry) => {
  const { open, subnormals } = entry, key = sharedBy(entry, "formulas")
  let device: Device
  let results: ReturnType<typeof run>
  beforeAll(async () => {
    device = await open()
    results = run(device, entry)
    await results
    if (!expected.has(key)) expected.set(key, run(reference, entry))
    await expected.get(key)
  })
  afterAll(() => device.close())
  test.each(Object.keys(formulas).map((name, i) => [name, i] as const))("%s", async (_name, i) => {
    const got = (await results)[i]!, want = (await expected.get(key)!)[i]!
    expect(got.map((g, k) => difference(g, want[k]!, "exact", 0, subnormals)).filter((d) => d !== undefined)).toEqual([])
  })
})
