import { readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import * as kit from "../src/laws/index.ts"
import { ggml, int, mx, nf4, nvfp4, type QuantizedFormat } from "../src/index.ts"

const tables = [kit.laws, kit.solverLaws, kit.factorLaws, kit.rotationLaws, kit.observerLaws, kit.sumsLaws, kit.prunerLaws, kit.packingLaws, kit.dialectLaws, kit.familyLaws, kit.structureLaws] as unknown as readonly Readonly<Record<string, { name: string; letter: string; statement: string }>>[]
const all = tables.flatMap((t) => Object.entries(t))
const page = readFileSync(join(import.meta.dirname, "../../../docs/laws.md"), "utf8")

test("every law has one name, under which it is exported", () => {
  expect(new Set(all.map(([name]) => name)).size).toBe(all.length)
  for (const [name, law] of all) {
    expect(law.name).toBe(name)
    expect((kit as Record<string, unknown>)[name], name).toBe(law)
    expect(law.statement).toMatch(/\.\)?$/)
  }
})
test("the guide lists every law with its letter and statement", () => {
  for (const [name, { letter, statement }] of all) expect(page, name).toContain(`| ${letter} | \`${name}\` | ${statement.replaceAll("|", "\\|")} |`)
})
test("there is a law for every letter from A1 to I8", () => {
  const letters = all.map(([, l]) => l.letter).join(", ").replaceAll("A1–A9", "A1, A2, A3, A4, A5, A6, A7, A8, A9")
  const counts = { A: 12, B: 12, C: 4, D: 7, E: 6, F: 3, G: 11, H: 3, I: 8 }
  for (const [letter, most] of Object.entries(counts)) for (let i = 1; i <= most; i++) expect(letters.split(", "), `${letter}${i}`).toContain(`${letter}${i}`)
})
test("E3: bits per weight, by name", () => {
  const bits = (f: unknown): number => ((f as QuantizedFormat).storageBytes([1, 2 ** 16]) * 8) / 2 ** 16
  const said = { Q4_0: 4.5, Q4_1: 5, Q5_0: 5.5, Q5_1: 6, Q8_0: 8.5, Q2_K: 2.625, Q3_K: 3.4375, Q4_K: 4.5, Q5_K: 5.5, Q6_K: 6.5625, IQ4_XS: 4.25, TQ1_0: 1.6875, TQ2_0: 2.0625 } as const
  for (const [name, b] of Object.entries(said)) expect(bits(ggml[name as keyof typeof said]), name).toBe(b)
  expect(bits(mx("e2m1"))).toBe(4.25)
  expect(bits(nvfp4())).toBeCloseTo(4.5, 2)
  expect(bits(nf4())).toBe(4.5)
  expect(bits(nf4({ absmax: "nested" }))).toBeCloseTo(4.127, 2)
  expect(bits(int(4, { group: 128, range: "asymmetric" }))).toBeCloseTo(4 + 24 / 128, 6)
})
