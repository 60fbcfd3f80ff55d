// What runs record: sections of a page, and claims that can fail.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { costChecks } from "../distill/cost-page.ts"
import { record, recorded } from "../distill/record.ts"
import { meanText, standardError } from "../figures.ts"
import { recoverChecks } from "../distill/recover-page.ts"
import { tableChecks, tablePage, type MeasuredStudent } from "../distill/table-page.ts"
import { warped } from "../mnist/warped.ts"
import { examples } from "@thimble/distill"
import { open } from "@thimble/kernels"

let folder: string
beforeAll(async () => {
  await open("wasm", { threads: 1 })
  folder = await mkdtemp(join(tmpdir(), "thimble-record-"))
})
afterAll(() => rm(folder, { recursive: true }))

describe("a section", () => {
  test("is replaced, and what stands around it stays; its numbers are read back", async () => {
    const page = join(folder, "page.md"), around = (a: string, b: string): string => `# Title\n\n${a}\nbetween\n\n${b}\nafter\n`, empty = (name: string, text = ""): string => `<!-- ${name}: written by its command -->\n\n${text}<!-- ${name}: end -->\n`
    await writeFile(page, around(empty("one"), empty("two")))
    await record(page, "two", { x: 2 }, "second")
    await record(page, "one", { x: 1 }, "first")
    await record(page, "two", { x: 3 }, "third")
    expect(await readFile(page, "utf8")).toBe(around(empty("one", "first\n\n"), empty("two", "third\n\n")))
    expect([await recorded(page, "one"), await recorded(page, "two"), await recorded(page, "three")]).toEqual([{ x: 1 }, { x: 3 }, undefined])
  })
  test("is appended to a page that has none", async () => {
    const page = join(folder, "new.md")
    await record(page, "one", 1, "first")
    await record(page, "one", 1, "again")
    expect(await readFile(page, "utf8")).toBe("<!-- one: written by its command -->\n\nagain\n\n<!-- one: end -->\n")
  })
})

test("means have the standard error of a mean", () => {
  expect(standardError([1, 2, 3, 4])).toBeCloseTo(Math.sqrt(5 / 3 / 4), 12)
  expect([meanText([1, 3], 2), meanText([2], 2)]).toEqual(["2.00 ± 1.00", "2.00"])
})

describe("claims", () => {
  const row = (name: string, size: number, kl: number, kept: number): MeasuredStudent => ({ group: "", name, size, perplexities: [30 + kl], divergences: [kl], steps: [1], kept: [kept] })
  const table = (kl: number, kept: number) => ({ seconds: 1, tokens: 1, batch: 1, length: 1, teacher: { size: 100, perplexity: 20 }, unigram: 500, rows: [row("half depth: labels only", 60, 1, 0.9), row("half depth: soft targets", 60, kl, 0.99), row("half size: layers dropped and narrowed, soft targets", 50, 0.2, kept)] })
  test("of the table fail where the worse one is ahead, and count only students of at most half the parameters", () => {
    expect(tableChecks(table(0.5, 0.96)).map((c) => c.holds)).toEqual([true, true])
    expect(tableChecks(table(1.5, 0.94)).map((c) => c.holds)).toEqual([false, false])
    expect(tablePage(table(1.5, 0.94))).toContain("**no**")
  })
  test("of costs and of recovery fail beyond their bounds", () => {
    const costs = (bytes: number, answers: number, distilled: number) => ({ top: 64, classes: 1, batch: 1, length: 1, bytesPerToken: bytes, stepSeconds: { labels: 1, answers }, memory: { vocabulary: 1, batch: 1, length: 1, labels: 100, labelsChunked: 100, distilled, distilledWhole: 300 } })
    expect(costChecks(costs(299, 1.14, 119)).map((c) => c.holds)).toEqual([true, true, true, true])
    expect(costChecks(costs(301, 1.16, 121)).map((c) => c.holds)).toEqual([false, false, false, false])
    const score = (divergence: number) => ({ perplexity: 1, divergence, error: 0 })
    const recovered = (seconds: number, after: number) => recoverChecks({ seconds, batch: 1, length: 1, tokens: 1, tried: [1], share: 1, rows: [{ name: "x", kind: "pruned", rate: 1, attempts: [], steps: 1, bytes: 1, before: score(1), after: score(after) }] }).map((c) => c.holds)
    expect([recovered(600, 0.5), recovered(600, 0.51), recovered(601, 0.4)]).toEqual([[true], [false], [false]])
  })
})

test("warped images: none where nothing may change, whole places where images are shifted, and the same for the same batch", async () => {
  const image = Float32Array.from({ length: 784 }, (_, i) => (i === 14 * 28 + 14 ? 1 : 0)), plain = examples({ inputs: image, shape: [784], labels: [3] }, { batch: 1 })
  const still = { shift: 0, turn: 0, scale: 0, shear: 0 }, pixels = async (options: Parameters<typeof warped>[1], index = 0): Promise<number[]> => [...await (await warped(plain, options).batch(index)).inputs.data() as Float32Array]
  expect(await pixels({ seed: 1, ...still })).toEqual([...image])
  const moved = await pixels({ seed: 1, ...still, shift: 5 })
  // The weights of four places sum to one.
  expect(moved.reduce((a, b) => a + b)).toBeCloseTo(1, 5)
  expect(moved.filter((v) => v > 0).length).toBeLessThanOrEqual(4)
  expect(await pixels({ seed: 1 })).toEqual(await pixels({ seed: 1 }))
  expect(await pixels({ seed: 1 }, 1)).not.toEqual(await pixels({ seed: 1 }))
})
