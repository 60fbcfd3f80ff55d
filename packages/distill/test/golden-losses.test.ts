import { readFileSync } from "node:fs"
import { denseWeight, grad, tensor, type Tensor } from "@thimble/core"
import { open } from "@thimble/kernels"
import { beforeAll, describe, expect, test } from "vitest"
import {
  attentionMaps, attentionTransfer, chunked, contrastive, everyOther, forwardKL, hidden, jensenShannon, labels, policyGradient, relational, relations, reverseKL, sharedVocabulary, skewedKL, softTargets, standardize,
  topK, topP, totalVariation, triple, universal, type Loss, type View,
} from "../src/index.ts"

interface Stored { readonly shape: number[]; readonly data: number[] }
interface Case {
  readonly name: string
  readonly options?: Record<string, number & string>
  readonly inputs: Readonly<Record<string, Stored>>
  readonly value: number
  readonly gradients: Readonly<Record<string, Stored>>
}
/** What `generate.py` computed with PyTorch in float64. */
const cases = JSON.parse(readFileSync(new URL("../fixtures/losses.json", import.meta.url), "utf8")) as Case[]

type Options = Record<string, number & string>
/** How the library spells each of the cases. */
const losses: Readonly<Record<string, (o: Options) => Loss>> = {
  forwardKL, reverseKL, jensenShannon, totalVariation, softTargets, relational,
  skewedKL: (o) => skewedKL(o as object),
  labels: () => labels(),
  standardized: (o) => forwardKL({ ...o, prepare: standardize }),
  topK: ({ k, ...o }) => forwardKL({ ...o, restrict: topK(k!) }),
  "topK bucket": ({ k }) => forwardKL({ restrict: topK(k!, { others: "bucket" }) }),
  topP: ({ p, ...o }) => reverseKL({ ...o, restrict: topP(p!) }),
  hidden: (o) => hidden({ layers: everyOther(), ...(o as object) }),
  attentionMaps: (o) => attentionMaps({ layers: everyOther(), ...(o as object) }),
  attentionTransfer: (o) => attentionTransfer({ layers: everyOther(), ...o }),
  relations: (o) => relations({ layers: [[0, 0]], ...o }),
  contrastive: (o) => contrastive({ ...o, examples: o.examples!, size: 3 }),
  triple: () => triple(),
  universal,
  sharedVocabulary: (o) => sharedVocabulary(o as never),
  policyGradient: (o) => policyGradient(o as object),
  chunked: (o) => chunked(softTargets(o), { positions: 4 }),
}
/** What the inputs of a case are to the losses. */
function viewOf(name: string, x: Readonly<Record<string, Tensor>>): View {
  const several = (of: string): Tensor[] => Object.keys(x).filter((k) => k.startsWith(`${of}.`)).map((k) => x[k]!)
  const kind = { hidden: "hidden", attentionTransfer: "hidden", attentionMaps: "attention" }[name]
  const { student, teacher } = x
  const shared = { ...(x.labels && { labels: x.labels }) }
  if (kind !== undefined) return { ...shared, student: { [kind]: several("student") }, teacher: { [kind]: several("teacher") }, parameters: Object.fromEntries(Object.entries(x).filter(([k]) => k.startsWith("project."))) }
  if (name === "relational") return { student: { final: student! }, teacher: { final: teacher! } }
  if (name === "contrastive") return { student: { final: student! }, teacher: { final: teacher! }, parameters: { student: x.s_map!, teacher: x.t_map! } }
  if (name === "relations") return { ...shared, student: { values: [student!] }, teacher: { values: [teacher!] } }
  if (name === "chunked") return { ...shared, student: { final: x.s_final!, head: { weight: denseWeight(x.s_head!) } }, teacher: { final: x.t_final!, head: { weight: denseWeight(x.t_head!) } } }
  if (x.first) return { ...shared, student: { logits: student! }, teacher: { logits: teacher! }, readings: { inputs: x.t_labels!, labels: x.t_labels!, first: x.first, teacherFirst: x.t_first!, counts: x.counts!, rest: x.rest!, teacherRest: x.t_rest! } }
  return { ...shared, student: { logits: student!, ...(x.s_final && { final: x.s_final }) }, teacher: { logits: teacher!, ...(x.t_final && { final: x.t_final }) } }
}
const whole = ["labels", "t_labels", "first", "t_first", "rest", "t_rest"]
const load = (inputs: Case["inputs"], dtype: "f32" | "f64"): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(inputs).map(([k, { shape, data }]) => [k, whole.includes(k) ? tensor(Int32Array.from(data), { shape }) : tensor(dtype === "f64" ? Float64Array.from(data) : Float32Array.from(data), { shape })]))

beforeAll(async () => {
  await open("wasm", { threads: 1 })
})

describe.each(cases.map((c, i) => [`${i} ${c.name} ${JSON.stringify(c.options ?? {})}`, c] as const))("%s", (_, c) => {
  // Weights compute in f32 (denseWeight of f64 stays f64; logits are as wide as what they are made of).
  test.each([["f64", 1e-9], ["f32", 3e-6]] as const)("value and gradients as PyTorch's, %s", async (dtype, tolerance) => {
    const x = load(c.inputs, dtype), value = losses[c.name]!(c.options ?? {}).compute(viewOf(c.name, x))
    expect(Math.abs((await value.item()) - c.value)).toBeLessThan(tolerance * Math.max(1, Math.abs(c.value)))
    const names = Object.keys(c.gradients), found = grad(value, names.map((n) => x[n]!))
    for (const [i, name] of names.entries()) {
      const want = c.gradients[name]!.data, got = await found[i]!.data(), size = Math.max(...want.map(Math.abs))
      expect(size).toBeGreaterThan(0)
      expect(Math.max(...want.map((w, j) => Math.abs(w - got[j]!)))).toBeLessThan(tolerance * Math.max(1, size))
    }
    // Nothing else has a gradient.
    const others = Object.keys(x).filter((n) => !whole.includes(n) && !names.includes(n))
    for (const g of grad(value, others.map((n) => x[n]!))) expect(Math.max(...(await g.data()).map(Math.abs))).toBe(0)
  })
})
test("every loss has its case", () => {
  expect([...new Set(cases.map((c) => c.name))].sort()).toEqual(Object.keys(losses).sort())
})
