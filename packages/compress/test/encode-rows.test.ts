import { afterAll, describe, expect, test } from "vitest"
import type { Part } from "@thimble/core"
import { encodeRows, ggml, int, nf4, type QuantizedFormat } from "../src/index.ts"
import { callHelpers, endHelpers, releaseHelpers } from "../src/parallel/helper.ts"
import { fill } from "../src/laws/values.ts"

const shape = [1100, 2048] as const, values = fill("gaussian", 3, [shape[0], shape[1]])
const importance = Float32Array.from({ length: shape[1] }, (_, i) => 1 + (i % 5))
const formats: readonly QuantizedFormat[] = [ggml.Q8_0, ggml.Q4_0, ggml.Q6_K, int(3, { group: 128 }), int(8), nf4(), nf4({ absmax: "nested" }), int(4, { group: "tensor" })]
const plainly = (parts: Readonly<Record<string, Part>>): object =>
  Object.fromEntries(Object.entries(parts).map(([name, { data, shape, dtype }]) => [name, { shape: [...shape], dtype, bytes: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("base64").length, sum: hash(data) }]))
const hash = (data: ArrayBufferView): number => new Uint8Array(data.buffer, data.byteOffset, data.byteLength).reduce((h, b) => Math.imul(h ^ b, 0x01000193), 0x811c9dc5)

/** Waits until a helper runs, so that it takes part. */
async function ready(): Promise<void> {
  const [helper] = callHelpers(1)
  releaseHelpers()
  for (const end = performance.now() + 20_000; !helper!.free; ) {
    if (performance.now() > end) throw new Error("no helper came")
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
afterAll(endHelpers)

describe("rows encoded by any number of threads are what the format gives", () => {
  for (const format of formats)
    test(format.name, async () => {
      const want = plainly(format.encode(values, shape))
      for (const threads of [1, 2, 3]) {
        if (threads > 1) await ready()
        expect(plainly(await encodeRows(format, values, shape, { threads }))).toEqual(want)
      }
    })

  test("with importances", async () => {
    const want = plainly(ggml.Q4_K.encode(values, shape, { importance }))
    await ready()
    expect(plainly(await encodeRows(ggml.Q4_K, values, shape, { threads: 2, importance }))).toEqual(want)
  })
})

test("a helper does take part", async () => {
  await ready()
  let own = 0
  // Two blocks in a row, so that a helper has time.
  const format = { ...int(4, { group: 32 }) }, { encode } = format
  const counted: QuantizedFormat = Object.assign(format, { encode: Object.assign((...args: Parameters<typeof encode>) => (own++, encode(...args)), { toString: () => String(encode) }) })
  const parts = await encodeRows(counted, values, shape, { threads: 2 })
  expect(plainly(parts)).toEqual(plainly(int(4, { group: 32 }).encode(values, shape)))
  expect(own).toBeLessThan(9)
  expect(own).toBeGreaterThan(0)
})

test("a format of one's own is encoded here, whatever its name", async () => {
  await ready()
  const own: QuantizedFormat = { ...ggml.Q8_0, encode: (v, s, o) => ggml.Q8_0.encode(v.map((x) => 2 * x), s, o) }
  expect(plainly(await encodeRows(own, values, shape, { threads: 2 }))).toEqual(plainly(own.encode(values, shape)))
})

test("an error is that of the whole matrix", async () => {
  await ready()
  const wrong = values.slice()
  wrong[1000 * shape[1] + 7] = NaN
  for (const threads of [1, 2]) await expect(encodeRows(ggml.Q4_0, wrong, shape, { threads })).rejects.toThrow("row 1000, column 7 is NaN")
})

test("a signal ends it, and the next matrix is not disturbed", async () => {
  for (const threads of [1, 2]) {
    const controller = new AbortController(), reason = new Error("enough")
    let rows = 0
    const work = encodeRows(ggml.Q4_K, values, shape, {
      threads, signal: controller.signal,
      onProgress(done) {
        rows = done
        controller.abort(reason)
      },
    })
    await expect(work).rejects.toBe(reason)
    expect(rows).toBeLessThan(shape[0])
    expect(plainly(await encodeRows(ggml.Q4_0, values, shape, { threads }))).toEqual(plainly(ggml.Q4_0.encode(values, shape)))
  }
})

test("what a listener throws ends it", async () => {
  for (const threads of [1, 2]) {
    const work = encodeRows(ggml.Q4_0, values, shape, { threads, onProgress: () => { throw new Error("not now") } })
    await expect(work).rejects.toThrow("not now")
  }
})

test("helpers that end in the middle are made up for", async () => {
  await ready()
  let ended = false
  const parts = await encodeRows(ggml.Q6_K, values, shape, {
    threads: 2,
    onProgress() {
      if (!ended) endHelpers()
      ended = true
    },
  })
  expect(ended).toBe(true)
  expect(plainly(parts)).toEqual(plainly(ggml.Q6_K.encode(values, shape)))
})

test("progress only grows, and ends with all rows", async () => {
  await ready()
  const told: number[] = []
  await encodeRows(ggml.Q4_0, values, shape, { threads: 2, onProgress: (rows) => told.push(rows) })
  expect(told).toEqual([...told].sort((a, b) => a - b))
  expect(told.at(-1)).toBe(shape[0])
})
