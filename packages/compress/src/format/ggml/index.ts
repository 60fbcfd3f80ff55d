import { blockFormat, type BlockFormat, type BlockRow } from "./block.ts"
import { floats } from "./float.ts"
import { codebooks } from "./iq.ts"
import { iq4 } from "./iq4.ts"
import { kQuants } from "./k.ts"
import { microscaled } from "./mx.ts"
import { simple } from "./simple.ts"
import { ternaries } from "./ternary.ts"

const rows = { ...floats, ...simple, ...kQuants, ...iq4, ...ternaries, ...microscaled, ...codebooks } satisfies Record<string, BlockRow>

/** Names of ggml's types, as in GGUF files. */
export type GgmlName = keyof typeof rows

/**
 * The storage types of llama.cpp. Encoders give ggml's bytes exactly, those that take an importance for each column
 * (llama.cpp's imatrix) with it and without; decoding gives its values bit for bit. Source: ggml-quants.c, ggml-common.h.
 */
export const ggml: Readonly<Record<GgmlName, BlockFormat>> = Object.fromEntries(
  Object.entries(rows).map(([name, row]) => [name, blockFormat(name, row)])) as Record<GgmlName, BlockFormat>
