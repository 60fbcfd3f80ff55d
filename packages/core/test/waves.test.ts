import fc from "fast-check"
import { expect, test } from "vitest"
import type { Step, Value } from "../src/program.ts"
import { inWaves } from "../src/waves.ts"

interface Made { readonly steps: readonly Step[]; readonly values: readonly Value[] }
/** Programs over three arguments, of which later steps may take over one that nobody reads any more. */
const programs = fc.array(fc.record({ reads: fc.array(fc.nat(), { maxLength: 3 }), takes: fc.boolean(), waits: fc.integer({ min: 0, max: 15 }), large: fc.boolean() }), { minLength: 1, maxLength: 40 }).map((rows): Made => {
  const values: Value[] = [0, 1, 2].map(() => ({ kind: "input", input: undefined as never }))
  const last = new Map<number, number>(), chosen: { reads: number[]; out: number }[] = []
  rows.forEach(({ reads, large }, i) => {
    const sources = reads.map((r) => r % (3 + i))
    for (const s of sources) last.set(s, i)
    chosen.push({ reads: sources, out: 3 + i })
    values.push({ kind: "temporary", place: -1, bytes: large ? 2 ** 20 : 64 })
  })
  const taken = new Set<number>()
  const steps = rows.map(({ takes, waits }, i): Step => {
    const { reads, out } = chosen[i]!, over = [0, 1, 2].find((n) => !taken.has(n) && (last.get(n) ?? -1) <= i)
    if (takes && over !== undefined) {
      taken.add(over)
      values[out] = { kind: "output", output: i, bytes: 64, over }
    }
    return waits === 0 ? { kind: "routine", node: undefined as never, values: [out, ...reads], sources: [] } : { kind: "kernel", kernel: { out } as never, values: [out, ...reads], scalars: [] }
  })
  return { steps, values }
})
/** What each step makes, where those of one group read what was there before any of them wrote. */
function run({ values }: Made, groups: readonly (readonly Step[])[]): Map<number, string> {
  const memory = new Map<number, string>([0, 1, 2].map((n) => [n, `in${n}`])), made = new Map<number, string>()
  const at = (n: number): number => {
    const v = values[n]!
    return v.kind === "output" ? (v.over ?? n) : n
  }
  for (const group of groups) {
    const results = group.map(({ values: [out, ...reads] }) => [out!, `${out}(${reads.map((r) => memory.get(at(r))).join()})`] as const)
    for (const [out, text] of results) {
      made.set(out, text)
      memory.set(at(out), text.length > 200 ? `${out}…${text.length}` : text)
    }
  }
  return made
}
const grouped = (steps: readonly Step[], waves: readonly number[]): Step[][] => steps.reduce<Step[][]>((all, s, i) => {
  if (i > 0 && waves[i] === waves[i - 1]) all.at(-1)!.push(s)
  else all.push([s])
  return all
}, [])

test("steps in waves make what they make one by one, in whatever order those of a wave run", () => {
  fc.assert(fc.property(programs, (made) => {
    const { steps, waves } = inWaves(made.steps, made.values), groups = grouped(steps, waves)
    const want = run(made, made.steps.map((s) => [s]))
    expect(steps.length).toBe(made.steps.length)
    expect(run(made, groups)).toEqual(want)
    expect(run(made, groups.flatMap((g) => g.toReversed().map((s) => [s])))).toEqual(want)
  }))
})
test("a routine runs alone, after all that was before it and before all that is after", () => {
  fc.assert(fc.property(programs, (made) => {
    const { steps, waves } = inWaves(made.steps, made.values)
    steps.forEach((s, i) => {
      if (s.kind !== "routine") return
      const at = made.steps.indexOf(s)
      steps.forEach((other, j) => { if (j !== i) expect(Math.sign(waves[j]! - waves[i]!)).toBe(Math.sign(made.steps.indexOf(other) - at)) })
    })
  }))
})
test("what makes large values stays where it was", () => {
  fc.assert(fc.property(programs, (made) => {
    const { steps, waves } = inWaves(made.steps, made.values)
    steps.forEach((s, i) => {
      const v = made.values[s.values[0]!]!
      if (v.kind !== "temporary" || v.bytes < 2 ** 18) return
      const before = made.steps.slice(0, made.steps.indexOf(s))
      expect(waves[i]).toBeGreaterThanOrEqual(Math.max(0, ...before.map((b) => waves[steps.indexOf(b)]!)))
    })
  }))
})
