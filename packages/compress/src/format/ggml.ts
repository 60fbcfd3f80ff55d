// What llama.cpp's types promise; their encoders and expressions are in `formats`.
import { ggml as formats, type BlockFormat, type GgmlName } from "@thimble/formats"
import type { Stores } from "@thimble/models"
import type { Element } from "../host.ts"
import { needsValues, quantizer, type Promises, type QuantizedFormat } from "../quantizer.ts"
import type { LawName } from "../laws/names.ts"
import { halfSpacing } from "./small-float.ts"

type Row = Pick<Promises, "bound" | "counterexamples" | "range" | "codes"> & { readonly laws: readonly LawName[] }

/** Half a unit of f16 at 1, and half of its smallest number. */
const u = 2 ** -11, tiny = 2 ** -25, slack = 1 + 2 ** -20
/** What all of them obey. */
const any: readonly LawName[] = ["bound", "outputBound", "monotone", "groups", "rows", "views", "ragged", "oneSided", "storage", "anyBytes", "deterministic", "devices", "products"]
const floats: readonly LawName[] = [...any, "idempotent", "zero", "constant", "sign", "permutation", "subnormal"]
/** What all blocks with a scale of their own obey. */
const blocks: readonly LawName[] = [...any, "finite", "overflow"]
/** Q…_0: one scale per block, of f16. */
const scaled: readonly LawName[] = [...blocks, "subnormal", "constant", "scaling", "idempotent"]

const none = { values: [] }, two = { values: [-2, 2] }, one = { values: [1] }
/** Zero is not among the codes of a block from its minimum on, and a minimum has no mirror image. */
const minimum = { zero: { values: [-1], pick: 1 }, sign: one } as const
const still = { translation: none, saturates: none } as const
const unheld = { finite: none } as const

/** Codes around zero on one scale. */
const symmetric = (top: number) => ({ scale }: Element): number => Math.abs(scale) * (1 + top * u) * slack + (top + 1) * tiny
/** From minimum to maximum, both rounded to f16. */
const affine = (top: number) => ({ scale, min }: Element): number => scale * (0.5 + top * u) * slack + Math.abs(min) * (u + 2 ** -22) + (top + 2) * tiny
/**
 * A code is the nearest to what its encoder knows, but a search may have left values beyond the last codes: half a step
 * (or gap, in units of the scale), and how far beyond.
 */
const searched = (name: string, codes: number, least: number, gap = 1) => ({ scale, zero, min }: Element, x: number | undefined): number => {
  if (x === undefined) return needsValues(name)
  const ends = [(least - zero) * scale + min, (least + codes - 1 - zero) * scale + min], low = Math.min(...ends), high = Math.max(...ends)
  return (Math.abs(scale) * gap) / 2 + Math.max(0, low - x, x - high) + (Math.abs(x) + Math.abs(min) + Math.abs(low) + Math.abs(high)) * 2 ** -21
}

/** −1, 0 or 1 times the largest magnitude. */
const ternary: readonly LawName[] = [...scaled, "zero", "sign", "permutation"]
const absmax = ({ scale }: Element): number => scale * (0.5 + u) * slack + tiny

const rows: Readonly<Record<Exclude<GgmlName, `IQ${1 | 2 | 3}_${string}`>, Row>> = {
  F32: { laws: [...floats, "scaling", "overflow", "translation"], counterexamples: unheld, bound: () => 0 },
  F16: { laws: floats, counterexamples: { ...unheld, overflow: { values: [65520] }, scaling: { values: [65520] } }, bound: ({ value }) => Math.max(Math.abs(value) * u, tiny) },
  BF16: { laws: floats, counterexamples: { ...unheld, overflow: { values: [3.4e38] } }, bound: ({ value }) => Math.max(Math.abs(value) * 2 ** -8, 2 ** -134) },
  Q4_0: {
    laws: [...scaled, "zero", "sign"], bound: symmetric(8), range: [8 * 2 ** -14, 8 * 65504],
    counterexamples: { ...still, permutation: two, nearest: { values: [24.159891, 1.5097756], pick: 4 } },
  },
  Q5_0: { laws: [...scaled, "zero", "sign"], bound: symmetric(16), range: [16 * 2 ** -14, 16 * 65504], counterexamples: { ...still, permutation: two } },
  Q8_0: {
    laws: [...scaled, "zero", "sign", "permutation"], bound: ({ scale }) => scale * (0.5 + 127 * u) * slack + 127 * tiny, range: [127 * 2 ** -14, 127 * 65504],
    counterexamples: { ...still, nearest: { values: [2.3284156, 0.44929975], pick: 1 } },
  },
  Q4_1: {
    laws: [...blocks, "subnormal", "constant", "translation", "permutation"], bound: affine(15), range: [15 * 2 ** -14, 65504],
    counterexamples: { ...minimum, saturates: none, nearest: { values: [-1024, 1024], pick: 1 } },
  },
  Q5_1: {
    laws: [...blocks, "subnormal", "constant", "translation", "permutation"], bound: affine(31), range: [31 * 2 ** -14, 65504],
    counterexamples: { ...minimum, saturates: none, nearest: { values: [256, -0.00391, -256], pick: 1 } },
  },
  Q1_0: {
    laws: [...scaled, "nearest", "permutation"], range: [2 ** -13, 65504], codes: [0, 2], counterexamples: { ...still, zero: { values: [1], pick: 1 }, sign: one },
    bound: ({ scale }, x) => Math.max(scale, x === undefined ? 128 * (scale * (1 + u) + tiny) : Math.abs(x) - scale) * slack + 2 * tiny,
  },
  Q2_0: { laws: ternary, bound: absmax, range: [2 ** -14, 65504], counterexamples: still },
  TQ1_0: { laws: ternary, bound: absmax, range: [2 ** -14, 65504], counterexamples: still },
  TQ2_0: { laws: ternary, bound: absmax, range: [2 ** -14, 65504], counterexamples: still },
  Q2_K: {
    laws: [...blocks, "subnormal", "constant", "nearest"], bound: searched("Q2_K", 4, 0), range: [1, 6e4],
    counterexamples: { ...still, sign: { values: [1, 512] }, zero: { values: [-1, 1], pick: 1 }, idempotent: { values: [-32, -1] }, permutation: { values: [-21, -0.461, -1.9884007] } },
  },
  Q3_K: {
    laws: [...blocks, "subnormal", "constant", "nearest", "zero", "scaling"], bound: searched("Q3_K", 8, 0), range: [1, 6e4],
    counterexamples: { ...still, sign: { values: [1024, -1024] }, permutation: { values: [1024, -1024] }, idempotent: { values: [2, -2, -2] } },
  },
  Q4_K: {
    laws: [...blocks, "constant", "nearest"], bound: searched("Q4_K", 16, 0), range: [1, 6e4],
    counterexamples: { ...still, ...minimum, idempotent: { values: [-370, 1] }, permutation: { values: [-1470.9662, 0.5] }, subnormal: { values: [-2.7211477e-6] } },
  },
  Q5_K: {
    laws: [...blocks, "constant", "nearest"], bound: searched("Q5_K", 32, 0), range: [1, 6e4],
    counterexamples: { ...still, ...minimum, idempotent: { values: [16, -1024] }, permutation: { values: [7.9952955e-4, 1, -0.0011] }, subnormal: { values: [-2.7211477e-6] } },
  },
  Q6_K: {
    laws: [...blocks, "subnormal", "constant", "nearest", "zero", "sign", "scaling"], bound: searched("Q6_K", 64, 0), range: [1, 6e4],
    counterexamples: { ...still, idempotent: { values: [840.5] } },
  },
  // The widest gaps of its table are 24 and 23; the scale that codes are chosen by is not yet rounded.
  IQ4_NL: {
    laws: [...blocks, "subnormal", "constant", "sign", "scaling"], range: [1, 6e4], counterexamples: { ...still, zero: { values: [1], pick: 1 }, permutation: two, idempotent: { values: [11.3] } },
    bound: (e, x) => searched("IQ4_NL", 241, -127, 24)(e, x) + Math.abs(e.scale) * 127 * u + 127 * tiny,
  },
  IQ4_XS: {
    laws: [...blocks, "subnormal", "constant", "sign", "scaling"], range: [1, 6e4], counterexamples: { ...still, zero: { values: [1], pick: 1 }, idempotent: { values: [1120] }, permutation: two },
    bound: (e, x) => searched("IQ4_XS", 241, -127, 24)(e, x) + Math.abs(e.scale) * 127 * u + 127 * 32 * tiny,
  },
  // Codes count halves; the largest, 12, takes what is below 16.
  MXFP4: {
    laws: [...blocks, "subnormal", "nearest", "idempotent", "zero", "sign", "scaling", "permutation"], range: [2 ** -120, 2 ** 126],
    counterexamples: { ...still, constant: { values: [1.9] } },
    bound: ({ code, scale }) => (Math.abs(code) === 12 ? 4 * scale : 2 * halfSpacing("e2m1", code / 2) * scale) * slack,
  },
  NVFP4: {
    laws: [...blocks, "subnormal", "nearest", "zero", "sign", "permutation"], range: [2 ** -6 * 6, 448 * 6], counterexamples: { ...still, constant: one },
    bound({ code, scale }, x) {
      const s = 2 * scale, near = halfSpacing("e2m1", code / 2) * s
      // The largest scale may not be large enough; so far away, all codes are equally near in f32, and the first is taken.
      if (s >= 448) return x === undefined ? Infinity : Math.abs(x) > 6 * s ? Math.abs(x) : near * slack
      // Other scales are an eighth too small at most, or half of the smallest.
      return (Math.abs(code) < 12 && s > 0 ? near : Math.max(near, 6 * Math.max(s / 7, 2 ** -10))) * slack
    },
  },
}

/** The types that have an encoder, as quantizers; the others are only read. */
function promising(name: GgmlName, format: BlockFormat): BlockFormat & Partial<QuantizedFormat> {
  const row = (rows as Partial<Record<GgmlName, Row>>)[name]
  if (row === undefined) return format
  const { size, bytes } = format.block
  return quantizer(format, { ...row, unit: size, span: size, storageBytes: ([r, c]) => r * (c / size) * bytes })
}

/** llama.cpp's storage types with an encoder, and those that are only read. */
export type GgmlFormats = Readonly<{ [N in GgmlName]: BlockFormat & Stores<N extends "F32" | "F16" | "BF16" ? string : N> & (N extends `IQ${1 | 2 | 3}_${string}` ? unknown : QuantizedFormat) }>

/**
 * The storage types of llama.cpp. Encoders give ggml's bytes exactly, those that take an importance for each column
 * (llama.cpp's imatrix) with it and without; decoding gives its values bit for bit. Error bounds are those of encoding
 * without importances, but for the searched types, whose bound is of any.
 */
export const ggml: GgmlFormats = Object.fromEntries(Object.entries(formats).map(([name, format]) => [name, promising(name as GgmlName, format)])) as unknown as GgmlFormats
