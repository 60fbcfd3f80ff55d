import fc from "fast-check"
import { expect, test } from "vitest"
import { ArgumentRows, type Arguments } from "../src/webgpu/arguments.ts"
import type { Memory, Pool } from "../src/webgpu/pool.ts"
import { scalarAt } from "../src/wgsl/module.ts"

/** What was written of these rows, word by word. */
function uploaded(rows: ArgumentRows): Uint32Array {
  let words = new Uint32Array(0)
  rows.upload({ take: () => ({ block: {} }) as Memory } as unknown as Pool, { writeBuffer: (_: unknown, _at: number, data: Uint32Array, from: number, count: number) => void (words = data.slice(from, from + count)) } as unknown as GPUQueue)
  return words
}
const parts = fc.array(fc.record({ reads: fc.boolean(), values: fc.array(fc.integer({ min: 1, max: 99 }), { maxLength: 9 }), places: fc.array(fc.integer({ min: 1, max: 99 }), { maxLength: 3 }) }), { minLength: 1, maxLength: 5 })

test("each part finds a zero and its own arguments in its rows, whatever parts that read none were called with", () => {
  fc.assert(fc.property(fc.array(parts, { minLength: 1, maxLength: 6 }), (calls) => {
    const rows = new ArgumentRows(), wanted: { at: number; words: number[] }[] = []
    for (const call of calls) {
      let row = 0
      const begins = call.map(({ reads, values, places }) => {
        if (!reads) return undefined
        const at = row
        row += Math.ceil((scalarAt + values.length + places.length) / 4)
        return at
      })
      if (row === 0) continue
      const given = call.map(({ values, places }): Arguments => ({ types: values.map(() => "i32"), values, places })), offset = rows.add(given, begins)
      call.forEach(({ values, places }, i) => { if (begins[i] !== undefined) wanted.push({ at: offset / 4 + 4 * begins[i], words: [0, ...values, ...places] }) })
    }
    const words = uploaded(rows)
    // Past what was written everything is zero.
    for (const { at, words: own } of wanted) expect(own.map((_, i) => words[at + i] ?? 0)).toEqual(own)
  }))
})

test("zeros of either sign, and equal numbers of other types, are told apart", () => {
  const rows = new ArgumentRows(), cases = [["f32", 0], ["f32", -0], ["i32", 1], ["f32", 1], ["f32", -0], ["f32", 0]] as const
  const places = cases.map(([type, value]) => rows.add([{ types: [type], values: [value], places: [] }]) / 4), words = uploaded(rows)
  expect(places.map((at) => words[at + scalarAt])).toEqual([0, 0x80000000, 1, 0x3f800000, 0x80000000, 0])
})

test("a buffer serves until rows are added, and those that begin as others do add none", () => {
  const rows = new ArgumentRows(), given: unknown[] = []
  let written = 0
  const pool = { take: () => ({ block: {} }) as Memory, give: (m: Memory) => void given.push(m) } as unknown as Pool
  const queue = { writeBuffer: () => void written++ } as unknown as GPUQueue, one: Arguments = { types: ["i32"], values: [7], places: [] }
  expect(rows.upload(pool, queue)).toBeUndefined()
  const both = rows.add([one, { ...one, values: [8] }], [0, 1]), first = rows.upload(pool, queue)
  expect([rows.add([one]), rows.add([one, { ...one, values: [8] }], [0, 1])]).toEqual([both, both])
  expect([rows.upload(pool, queue), written, given]).toEqual([first, 1, []])
  expect(rows.add([{ ...one, values: [8] }])).not.toBe(both)
  const second = rows.upload(pool, queue)
  expect([second === first, written, given]).toEqual([false, 2, [first]])
  rows.clear(pool)
  expect([rows.upload(pool, queue), given]).toEqual([undefined, [first, second]])
})
