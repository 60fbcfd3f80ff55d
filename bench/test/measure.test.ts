import { expect, test } from "vitest"
import { measure, median, type Contestant, type MeasureOptions } from "../measure.ts"

const quick: MeasureOptions = { repeats: 3, sampleMs: 10, warmUpMs: 10, restMs: 0, failed: () => {} }

/** Pretends that a run takes `ms` and writes down when it is asked. */
function pretend(name: string, ms: number, log: string[]): Contestant {
  return {
    name,
    async time(runs) {
      log.push(`${name}${runs}`)
      return ms * runs
    },
  }
}

test("contestants take turns, each with enough runs to fill a sample", async () => {
  const log: string[] = []
  const medians = await measure([pretend("a", 5, log), pretend("b", 20, log)], quick)
  expect(log.slice(-6)).toEqual(["a2", "b1", "a2", "b1", "a2", "b1"])
  expect([...medians]).toEqual([
    ["a", 5],
    ["b", 20],
  ])
})

test("a contestant that fails is left out and the others go on", async () => {
  const failures: string[] = []
  const broken = { name: "broken", time: () => Promise.reject(new Error("out of memory")) }
  const medians = await measure([broken, pretend("b", 20, [])], {
    ...quick,
    failed: (name, reason) => failures.push(`${name}: ${reason}`),
  })
  expect([...medians.keys()]).toEqual(["b"])
  expect(failures).toEqual(["broken: out of memory"])
})

test("an interrupted measurement keeps the samples it has", async () => {
  const interrupt = new AbortController()
  let samples = 0
  const a: Contestant = {
    name: "a",
    async time(runs) {
      if (runs === 2 && ++samples === 2) interrupt.abort()
      return 5 * runs + samples
    },
  }
  const medians = await measure([a], { ...quick, repeats: 100, warmUpMs: 5, signal: interrupt.signal })
  expect(samples).toBe(2)
  expect(medians.get("a")).toBe(5.75)
})

test("median of odd and even counts", () => {
  expect(median([3, 1, 2])).toBe(2)
  expect(median([4, 1, 2, 3])).toBe(2.5)
})
