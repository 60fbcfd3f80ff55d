import { tensor, tensorsOf } from "@thimble/core"
import {
  adaround, affine, allocate, awq, binary, codebook, fp, fp4, ggml, ggmlMix, gptq, hqq, int, int8Activations, learned, mse, mx, nf4, nvfp4, plan, quantize, rotated, rtn, sensitivities, sequencesOf, smooth, ternary,
  type Bits, type Calibration, type GgmlMix, type IntOptions, type Method, type QuantizedFormat, type Recipe,
} from "@thimble/compress"
import type { Model } from "@thimble/models"
import { trained } from "./trained.ts"

/** What rows are made with: the model, and calibration data of a seed. */
export interface Bench {
  readonly model: Model
  readonly data: Calibration
  readonly seed: number
  /** Ids of the training text. */
  readonly text: Int32Array
  readonly signal: AbortSignal
}
/** A way to compress: once, or once for each seed where it depends on data. */
export interface Row {
  readonly group: string
  readonly name: string
  readonly seeded: boolean
  make(bench: Bench): Promise<Model>
}

const run = async ({ model, data, signal }: Bench, recipe: Recipe): Promise<Model> => (await plan(model, recipe).run(data, { signal }).result).model
const recipe = (group: string, name: string, seeded: boolean, of: (bench: Bench) => Recipe | Promise<Recipe>): Row => ({ group, name, seeded, make: async (bench) => run(bench, await of(bench)) })
const format = (f: QuantizedFormat): Row => recipe("formats, rounded to nearest", f.name, false, () => quantize({ default: rtn(f) }))

const formats: readonly Row[] = [
  int(8), int(6, { group: 64 }), int(5, { group: 64 }), int(4, { group: 128 }), int(4, { group: 32 }), int(4, { group: 64 }), int(4, { group: 64, range: "asymmetric" }), int(4, { group: 64, ends: mse() }), int(3, { group: 64 }), int(2, { group: 64 }),
  affine(4), affine(3), affine(2), fp("e4m3"), fp("e5m2"), fp("e2m1", { group: 64, scales: "f16" }), mx("int8"), mx("e4m3"), mx("e3m2"), mx("e2m3"), mx("e2m1"), nvfp4(), nf4(), nf4({ absmax: "nested" }), fp4(),
  codebook(4), codebook(3), codebook(2), ternary({ group: 64 }), binary({ group: 64 }),
  ...(["Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "MXFP4", "Q3_K", "Q2_K", "TQ2_0", "TQ1_0"] as const).map((name) => ggml[name] as QuantizedFormat),
].map(format)

const mixes: readonly Row[] = (["Q5_K_M", "Q4_K_M", "Q4_K_S", "Q3_K_M", "Q2_K"] satisfies GgmlMix[]).flatMap((name) => [
  recipe("llama.cpp's mixes, embedding included", name, false, ({ model }) => quantize({ rules: ggmlMix(model, name) })),
  recipe("llama.cpp's mixes, embedding included", `${name}, importance matrix`, true, ({ model }) => quantize({ rules: ggmlMix(model, name, { importance: "inputs" }) })),
])

const group = 64
const asymmetric = (bits: Bits, more: IntOptions = {}): QuantizedFormat => int(bits, { group, range: "asymmetric", ...more })
/** Names of rows that are compared afterwards. */
export const named = (bits: number, method: string): string => `${bits} bits, ${method}`
const methodsAt = (bits: 2 | 3 | 4): Row[] => {
  const f = asymmetric(bits), searched = asymmetric(bits, { ends: mse() }), at = `methods at ${bits} bits, asymmetric groups of ${group}`
  const row = (name: string, seeded: boolean, method: Method): Row => recipe(at, named(bits, name), seeded, () => quantize({ default: method }))
  const turned = (name: string, method: Method): Row => recipe(at, named(bits, name), true, ({ seed }) => [rotated({ seed }), quantize({ default: method })])
  return [
    row("nearest", false, rtn(f)), row("nearest, ends searched", false, rtn(searched)), row("nearest, ends searched, importance", true, rtn({ format: searched, importance: "inputs" })),
    row("HQQ", false, hqq({ bits, group })), row("SmoothQuant, nearest", true, smooth({ method: rtn(f) })), row("AWQ", true, awq({ format: f })),
    row("GPTQ", true, gptq({ format: f })), row("GPTQ, by activity, ends searched", true, gptq({ format: searched, order: "activity" })), row("learned rounding", true, learned({ format: searched })), row("AdaRound", true, adaround({ format: searched })),
    turned("rotated, nearest", rtn(searched)), turned("rotated, GPTQ", gptq({ format: searched, order: "activity" })),
    // Nobody trains for four bits, where rounding costs little.
    ...(bits === 4 ? [] : [{
      group: at, name: named(bits, "trained"), seeded: true,
      async make(bench: Bench) {
        const { model, text, seed, signal } = bench
        using ids = tensor(text, { dtype: "i32" })
        // Groups of neighbours, so that steps of groups that were solved for are steps that train.
        const from = await run(bench, quantize({ default: gptq({ format: searched, order: "activity", grids: "static" }) }))
        try {
          return await trained(model, ids, { format: int(bits, { group, range: "asymmetric" }), from, rules: [["embed_tokens", "keep"]], steps: 600, batch: 4, length: 128, rate: bits === 2 ? 6e-4 : 3e-4, seed, signal })
        } finally {
          const own = new Set(tensorsOf(model))
          for (const t of tensorsOf(from)) if (!own.has(t)) t.dispose()
        }
      },
    }]),
  ]
}

/** The size that int(4, { group: 64 }) takes. */
const uniform = int(4, { group })
const mixed: Row[] = [
  recipe("mixed precision at the size of int4g64", "uniform int4g64", false, () => quantize({ default: rtn(uniform) })),
  ...(["divergence", "fisher", "output"] as const).map((measure) => recipe("mixed precision at the size of int4g64", `allocated by ${measure}`, true, async ({ model, data, signal }) => {
    const table = await sensitivities(model, await sequencesOf(data.sequences.slice(0, 8)), { measure, candidates: ([2, 3, 4, 5, 6, 8] as const).map((bits) => rtn(int(bits, { group }))), signal })
    return quantize({ rules: allocate(table, { bitsPerWeight: uniform.bits }).rules })
  })),
]
const activations: Row[] = (["block", "token", "tensor"] as const).flatMap((scale) => [
  recipe("W8A8: int8 weights by row, int8 activations", `scale per ${scale}`, scale === "tensor", () => quantize({ default: int8Activations({ method: rtn(int(8)), scale }) })),
  recipe("W8A8: int8 weights by row, int8 activations", `scale per ${scale}, SmoothQuant`, true, () => quantize({ default: int8Activations({ method: smooth({ method: rtn(int(8)) }), scale }) })),
])

export const rows: readonly Row[] = [...formats, ...mixes, ...methodsAt(4), ...methodsAt(3), ...methodsAt(2), ...mixed, ...activations]
