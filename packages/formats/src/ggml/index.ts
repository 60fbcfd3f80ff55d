import { blockFormat, type BlockFormat, type BlockRow } from "./block.ts"
import { floats } from "./float.ts"
import { codebooks } from "./iq.ts"
import { iq4 } from "./iq4.ts"
import { kQuants } from "./k.ts"
import { microscaled } from "./mx.ts"
import { simple } from "./simple.ts"
import { ternaries } from "./ternary.ts"

/** Names of ggml's types, as in GGUF files. */
export type GgmlName =
  | "F32" | "F16" | "BF16" | "Q4_0" | "Q4_1" | "Q5_0" | "Q5_1" | "Q8_0" | "Q1_0" | "Q2_0" | "Q2_K" | "Q3_K" | "Q4_K"
  | "Q5_K" | "Q6_K" | "IQ4_NL" | "IQ4_XS" | "TQ1_0" | "TQ2_0" | "MXFP4" | "NVFP4" | "IQ1_S" | "IQ1_M" | "IQ2_XXS"
  | "IQ2_XS" | "IQ2_S" | "IQ3_XXS" | "IQ3_S"

const rows = { ...floats, ...simple, ...kQuants, ...iq4, ...ternaries, ...microscaled, ...codebooks } satisfies Record<GgmlName, BlockRow>

/**
 * The storage types of llama.cpp. Encoders give ggml's bytes exactly, those that take an importance for each column
 * (llama.cpp's imatrix) with it and without; decoding gives its values bit for bit. Source: ggml-quants.c, ggml-common.h.
 */
export const ggml: Readonly<Record<GgmlName, BlockFormat>> = Object.fromEntries(
  Object.entries(rows).map(([name, row]) => [name, blockFormat(name, row)])) as Record<GgmlName, BlockFormat>
