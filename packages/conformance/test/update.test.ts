import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { add, attention, compile, matmul, memory, mul, realize, rope, rotation, sum, tensor, updateSlice, useDevice, zeros, type Device, type Tensor } from "@thimble/core"
import { argumentsFor, devices } from "../src/devices.ts"
import { holds } from "../src/runs.ts"
import { table } from "../src/table/index.ts"
import { anything, makeAll, type Spec } from "../src/table/spec.ts"

const wave = (shape: readonly number[], phase = 0): Tensor => tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i + phase)), { shape })
const bufferOf = (t: Tensor): unknown => t.storage!.buffer

interface Cache { readonly keys: Tensor; readonly values: Tensor }
/** A decoding step of attention over caches [batch, heads, context, size], one pair per layer. */
function decode(caches: readonly Cache[], x: Tensor, position: Tensor): { caches: Cache[]; x: Tensor } {
  const turns = rotation(1, 8, { offset: position }), grown: Cache[] = []
  for (const c of caches) {
    const keys = updateSlice(c.keys, rope(x, turns), { axis: 2, start: position }), values = updateSlice(c.values, mul(x, 2), { axis: 2, start: position })
    grown.push({ keys, values })
    x = add(x, attention(x, keys, values, { length: add(position, 1) }))
  }
  return { caches: grown, x }
}
const empty = (): Cache[] => [0, 1].map(() => ({ keys: zeros([2, 3, 16, 8]), values: zeros([2, 3, 16, 8]) }))

describe.each(devices)("a donated tensor is updated in place on $name", (entry) => {
  const { open } = entry
  let device: Device
  beforeAll(async () => void useDevice((device = await open())))
  afterAll(() => device.close())

  test("whatever is put where, with the values of a copy", () => holds(table.updateSlice.args(anything), 14, async (cases) => Promise.all((cases as readonly [Spec, Spec, number, Spec | number][]).map(async (specs) => {
    const [x, values, axis, start] = makeAll(argumentsFor(entry, specs), (s) => s.make())
    const update = compile((t: Tensor, v: Tensor, s: Tensor | null) => updateSlice(t, v, { axis, start: s ?? (start as number) }), { donate: [0] })
    await realize(x)
    const want = await updateSlice(x, values, { axis, start }).raw(), memory = bufferOf(x)
    const y = await update(x, values, typeof start === "number" ? null : start), got = await y.raw()
    update.dispose()
    return got.every((g, i) => Object.is(g, want[i])) && bufferOf(y) === memory && x.disposed ? undefined : `${String(got)} instead of ${String(want)}, or copied`
  }))))

  test("a cache for each layer, read by attention in the same program: nothing is allocated, nothing copied", async () => {
    const inPlace = compile(decode, { donate: [0] }), copying = compile(decode)
    let mine = empty(), theirs = empty()
    await realize(...[...mine, ...theirs].flatMap((c) => [c.keys, c.values]))
    const memories = mine.flatMap((c) => [bufferOf(c.keys), bufferOf(c.values)])
    let used: number | undefined, bytes = 0
    for (let position = 0; position < 10; position++) {
      const x = wave([2, 3, 1, 8], position)
      const a = await inPlace(mine, x, BigInt(position)), b = await copying(theirs, x, BigInt(position))
      mine = a.caches
      theirs = b.caches
      expect(await a.x.data()).toEqual(await b.x.data())
      expect(mine.flatMap((c) => [bufferOf(c.keys), bufferOf(c.values)])).toEqual(memories)
      for (const t of [x, a.x, b.x]) t.dispose()
      if (position === 5) [used, bytes] = [device.used?.(), memory().bytes]
    }
    // The copying function's old caches are left to the collector.
    expect(memory().bytes).toBe(bytes + 4 * 4 * 2 * 3 * 16 * 8 * 4)
    if (used !== undefined) expect(device.used!()).toBe(used + 4 * 4 * 2 * 3 * 16 * 8 * 4)
    for (const [i, c] of mine.entries()) expect(await c.keys.data()).toEqual(await theirs[i]!.keys.data())
    expect(inPlace.show()).toMatch(/^out0 over in\d+ = map \[2,3,1,8\] .* into \{ .*s0:i32/m)
  })

  test("sequences of a batch at places of their own", async () => {
    const write = compile((cache: Tensor, rows: Tensor, lengths: Tensor) => updateSlice(cache, rows, { axis: 2, start: lengths }), { donate: [0] })
    const cache = zeros([3, 2, 5, 4]), rows = wave([3, 2, 2, 4]), lengths = tensor([3, 0, 1], { dtype: "i32" })
    await realize(cache)
    const want = await updateSlice(cache, rows, { axis: 2, start: lengths }).data(), place = bufferOf(cache)
    const grown = await write(cache, rows, lengths)
    expect(await grown.data()).toEqual(want)
    expect(bufferOf(grown)).toBe(place)
    // Held inside, where the last two fit.
    const held = await write(grown, mul(rows, 2), mul(lengths, 100))
    expect(await sum(held.narrow(2, 3, 2).narrow(0, 0, 1)).item()).toBeCloseTo(2 * (await sum(rows.narrow(0, 0, 1)).item()), 4)
  })

  test("not where the old value is read, or is not the function's to change", async () => {
    const one = wave([1, 4]), x = wave([3, 4])
    const old = compile((t: Tensor) => [updateSlice(t, one, { start: 1 }), sum(t)] as const, { donate: [0] })
    const [, total] = await old(mul(x, 1))
    expect(await total.item()).toBe(await sum(x).item())
    const itself = compile((t: Tensor) => updateSlice(t, t.narrow(0, 0, 1), { start: 2 }), { donate: [0] })
    expect(await (await itself(mul(x, 1))).data()).toEqual(await updateSlice(x, x.narrow(0, 0, 1), { start: 2 }).data())
    const kept = compile((t: Tensor) => updateSlice(t, one, { start: 1 }))
    const before = await x.data(), y = await kept(x)
    expect(await x.data()).toEqual(before)
    expect(bufferOf(y)).not.toBe(bufferOf(x))
    for (const f of [old, itself, kept]) expect(f.show()).not.toMatch(/^out\d+ over/m)
  })

  test("and belongs to the result alone", async () => {
    const step = compile((t: Tensor, v: Tensor) => updateSlice(t, matmul(v, v), { start: 1 }), { donate: [0] })
    const x = zeros([5, 3]), v = wave([3, 3])
    await realize(x, v)
    const both = await Promise.allSettled([step(x, v), step(x, v)])
    expect(both.map((r) => r.status)).toEqual(["fulfilled", "rejected"])
    expect((both[1] as PromiseRejectedResult).reason).toMatchObject({ code: "disposed", message: expect.stringContaining("was it donated to another call?") as unknown })
    expect(x.disposed).toBe(true)
    expect(() => add(x, 1)).toThrow("was disposed")
    await expect(step(x, v)).rejects.toThrow("an argument, f32[5, 3], was disposed")
    const y = (both[0] as PromiseFulfilledResult<Tensor>).value
    expect((await y.tolist() as number[][])[0]).toEqual([0, 0, 0])
    const again = await step(y, v)
    expect(y.disposed).toBe(true)
    again.dispose()
    expect(() => add(again, 1)).toThrow("was disposed")
  })
})
