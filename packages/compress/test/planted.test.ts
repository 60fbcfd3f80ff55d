import fc from "fast-check"
import { beforeAll, describe, expect, test } from "vitest"
import { referenceDevice, useDevice, type Device } from "@thimble/core"
import { int, type Parts, type QuantizedFormat } from "../src/index.ts"
import { checkLaws, counterexample, laws, type LawName, type Quantizer } from "../src/laws/index.ts"

interface Stored { readonly codes: Int8Array; readonly scales: Float32Array }

/** A plain quantizer, four bits and one scale per group of four, with room for a mistake in each place. */
interface Mistakes { scaleOf(group: Float32Array): number; round(v: number): number; bytes(n: number): number; bound: number; first(i: number): number }
const right: Mistakes = {
  scaleOf: (g) => g.reduce((m, v) => Math.max(m, Math.abs(v)), 0) / 7,
  round: (v) => Math.max(-7, Math.min(7, Math.round(v))), bytes: (n) => n + 4 * Math.ceil(n / 4), bound: 0.5, first: (i) => i - (i % 4),
}
const names: readonly LawName[] = ["bound", "zero", "sign", "groups", "permutation", "rows", "views", "ragged", "oneSided", "finite", "overflow", "monotone", "storage", "deterministic"]
function planted(mistake: Partial<Mistakes>, obeyed = names): Quantizer<Stored> {
  const { scaleOf, round, bytes, bound, first } = { ...right, ...mistake }
  return {
    name: "mine", group: 4, laws: obeyed.filter((l) => l !== "sign"),
    encode(values, [rows, columns]) {
      const codes = new Int8Array(values.length), scales = new Float32Array(rows * Math.ceil(columns / 4))
      const wrong = values.findIndex((v) => !Number.isFinite(v))
      if (wrong >= 0) throw new RangeError(`element ${wrong} is ${values[wrong]}`)
      for (let r = 0, g = 0; r < rows; r++)
        for (let c = 0; c < columns; c += 4, g++) {
          const at = r * columns + first(c), to = r * columns + Math.min(columns, c + 4)
          scales[g] = scaleOf(values.subarray(at, to))
          for (let i = r * columns + c; i < to; i++) codes[i] = scales[g] === 0 ? 0 : round(values[i]! / scales[g]!)
        }
      return { codes, scales }
    },
    decode: ({ codes, scales }, [, columns]) => Float32Array.from(codes, (q, i) => q * scales[Math.floor(i / columns) * Math.ceil(columns / 4) + ((i % columns) >> 2)]!),
    errorBound: ({ codes, scales }, [, columns]) => Float64Array.from(codes, (_, i) => scales[Math.floor(i / columns) * Math.ceil(columns / 4) + ((i % columns) >> 2)]! * (bound + 2 ** -20) + 2 ** -140),
    storageBytes: ([rows, columns]) => rows * bytes(columns),
  }
}
/** No more than a group of four elements says it all. */
async function smallest(q: Quantizer<Stored>, law: LawName): Promise<string> {
  const found = await counterexample(q, laws[law], { fc, seed: 1 })
  expect(found).toBeDefined()
  expect(found!.case.values.filter((v) => v !== 0).length).toBeLessThanOrEqual(4)
  return found!.message
}

test("the one without a mistake passes", async () => {
  expect((await checkLaws(planted({}), { fc })).obeyed.map((o) => o.law)).toEqual(names.filter((l) => l !== "sign"))
})

describe("a planted mistake is found and shown on at most four elements", () => {
  test("a range that forgets negative elements", async () => {
    const message = await smallest(planted({ scaleOf: (g) => g.reduce((m, v) => Math.max(m, v), 0) / 7 }), "bound")
    expect(message).toMatch(/^mine breaks the law 'bound': \|x − x̂\| ≤ errorBound\(E\(x\)\)/)
    expect(message).toContain("seed 1")
  })
  test("one code too few: the largest element clips", () => smallest(planted({ round: (v) => Math.max(-6, Math.min(6, Math.round(v))) }), "bound"))
  test("truncation instead of rounding", () => smallest(planted({ round: (v) => Math.trunc(v) }), "bound"))
  test("rounding that treats halves of both signs differently", () => smallest(planted({}), "sign"))
  test("groups counted from the wrong element", () => smallest(planted({ first: (i) => Math.max(0, i - (i % 4) - 1) }), "groups"))
  test("a scale that depends on the first element", () => smallest(planted({ scaleOf: (g) => (g[0] === 0 ? 0 : Math.max(...g.map(Math.abs)) / 7) }), "permutation"))
  test("sizes that forget the ragged group", () => smallest(planted({ bytes: (n) => n + 4 * Math.floor(n / 4) }), "storage"))
  test("a bound that is too good", () => smallest(planted({ bound: 0.4 }), "bound"))
  test("a bound that promises nothing", () => smallest(planted({ bound: Infinity }), "bound"))
})

test("a law that is said not to be obeyed needs a counterexample that breaks it", async () => {
  await expect(checkLaws({ ...planted({}), counterexamples: { sign: { values: [1, 7] } } }, { fc })).rejects.toThrow("mine says that it does not obey 'sign', but its counterexample does")
  expect((await checkLaws({ ...planted({}), counterexamples: { sign: { values: [0.5, 7] } } }, { fc })).notObeyed).toMatchObject([{ law: "sign" }])
  await expect(checkLaws({ ...planted({}), laws: ["bond" as LawName] }, { fc })).rejects.toThrow("checkLaws: mine: there is no law 'bond'")
})

describe("planted mistakes in a format are found", () => {
  let device: Device
  beforeAll(() => useDevice(device = referenceDevice()))
  const base = int(4, { group: 4 }), smaller: QuantizedFormat = { ...base, name: "mine", encode: (x, shape) => base.encode(x.map((v) => v * 0.97), shape) }
  const decoded = new WeakMap<object, Float32Array>()
  const mistakes: Readonly<Partial<Record<LawName, QuantizedFormat>>> = {
    onGrid: smaller,
    fake: smaller, casts: smaller, converts: smaller,
    extremes: int(4, { group: "tensor" }),
    chunks: int(4, { group: "tensor" }),
    rate: { ...base, bits: 4 },
    unbiased: { ...base, again: () => base },
    // What it knows of a matrix is not all in what it stores.
    saves: {
      ...base,
      encode(x, shape) {
        const parts = base.encode(x, shape)
        decoded.set(parts, base.decode(parts, shape))
        return parts
      },
      decode: (parts: Parts, [rows, columns]) => decoded.get(parts) ?? new Float32Array(rows * columns).fill(1),
    },
    integerSums: { ...base, decode: (parts, shape) => base.decode(parts, shape).map((v) => 1.01 * v) },
  }
  test.each(Object.entries(mistakes) as [LawName, QuantizedFormat][])("%s", async (name, format) => {
    const law = laws[name], found = await counterexample(format, law, { fc, seed: 1 }, "broken" in law ? undefined : device)
    expect(found?.message).toContain(`breaks the law '${name}': ${law.statement}`)
    expect(found!.case.values.length).toBeLessThanOrEqual(4)
  })
})
