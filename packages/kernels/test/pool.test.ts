import fc from "fast-check"
import { expect, test } from "vitest"
import { Pool, sizeClass, type Memory } from "../src/webgpu/pool.ts"

const megabyte = 2 ** 20
/** A pool over an adapter that only counts. */
function counting(): { pool: Pool; alive(): number; made(): number } {
  let made = 0, bytes = 0
  const gpu = { pushErrorScope() {}, createBuffer: ({ size }: { size: number }) => (made++, (bytes += size), { destroy: () => (bytes -= size) }) }
  const pool = new Pool(gpu as unknown as GPUDevice, 0, 2 ** 40, { onAllocated() {}, onDestroyed() {} })
  return { pool, alive: () => bytes, made: () => made }
}

test("what is needed again and again is made once, whatever else was left, and however large it is", () => {
  fc.assert(fc.property(
    fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 5 }), fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 5 }), fc.integer({ min: 0, max: 2000 }),
    (rounds, leftovers, held) => {
      const { pool, made } = counting(), own = held === 0 ? undefined : pool.take(held * megabyte)
      for (const m of leftovers.map((size) => pool.take(size * megabyte + 7))) pool.give(m)
      const round = (): void => {
        // Like a program: all of a round is alive at once, and given back.
        const taken = rounds.map((size) => pool.take(size * megabyte))
        for (const m of taken) pool.give(m)
      }
      const one = (): void => pool.give(pool.take(rounds[0]! * megabyte))
      round()
      one()
      const before = made()
      for (let i = 0; i < 5; i++) one()
      expect(made()).toBe(before)
      if (own !== undefined) pool.give(own)
    }))
})
test("no more is kept than is in use, or 256 MB", () => {
  fc.assert(fc.property(fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 900 })), { maxLength: 60 }), (steps) => {
    const { pool, alive } = counting(), held: Memory[] = []
    let last = 0
    for (const [takes, size] of steps) {
      if (takes || held.length === 0) held.push(pool.take(size * megabyte))
      else {
        const given = held.shift()!
        last = given.block.size
        pool.give(given)
      }
      const used = held.reduce((n, m) => n + sizeClass(m.bytes), 0)
      // And what was given back last.
      expect(alive() - used).toBeLessThanOrEqual(Math.max(256 * megabyte, used) + last)
    }
  }))
})
