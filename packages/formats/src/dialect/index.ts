import { awqDialect } from "./awq.ts"
import { bitsandbytesDialect } from "./bitsandbytes.ts"
import { compressedDialect } from "./compressed-settings.ts"
import type { Dialect, DialectName } from "./dialect.ts"
import { gptqDialect } from "./gptq.ts"
import { mlxDialect } from "./mlx.ts"

/** The dialects of quantized checkpoints. */
export const dialects: Readonly<Record<DialectName, Dialect>> = {
  gptq: gptqDialect(1), gptq_v2: gptqDialect(2), awq: awqDialect, "compressed-tensors": compressedDialect, bitsandbytes: bitsandbytesDialect, mlx: mlxDialect,
}
