import { fail, type Part } from "@thimble/core"
import { ggml } from "../ggml/index.ts"
import type { BlockFormat } from "../ggml/block.ts"
import type { IntegerCodes, IntegerOutline, MicroCodes, Outline } from "./codes.ts"

/** Types of GGUF files whose blocks of 32 hold integers with a scale, and perhaps a minimum. */
type IntegerType = "Q4_0" | "Q4_1" | "Q5_0" | "Q5_1" | "Q8_0"

/** What of a code is taken off before it is stored, bytes of a block, and where its pieces are. */
const types: Readonly<Record<IntegerType, { readonly middle: number; readonly bytes: number; readonly min?: number; readonly fifth?: number; readonly codes: number }>> = {
  Q4_0: { middle: 8, bytes: 18, codes: 2 }, Q4_1: { middle: 0, bytes: 20, min: 2, codes: 4 },
  Q5_0: { middle: 16, bytes: 22, fifth: 2, codes: 6 }, Q5_1: { middle: 0, bytes: 24, min: 2, fifth: 4, codes: 8 },
  Q8_0: { middle: 0, bytes: 34, codes: 2 },
}

/** The narrowest type that holds all of q − z, or q with a minimum. */
function typeFor({ bits, zeros, mins }: IntegerOutline): IntegerType | undefined {
  if (mins) return bits <= 4 ? "Q4_1" : bits === 5 ? "Q5_1" : undefined
  if (zeros) return bits <= 4 ? "Q5_0" : bits <= 7 ? "Q8_0" : undefined
  return bits <= 4 ? "Q4_0" : bits === 5 ? "Q5_0" : "Q8_0"
}

/** Why codes are no blocks of GGUF files; undefined if they are. */
export function refusesBlocks(o: Outline): string | undefined {
  if (o.kind === "micro" && !o.divided) return undefined
  if (o.kind !== "integer") return "its blocks hold integers with a scale, or ggml's own codebooks"
  if (o.ordered) return "groups are neighbours there"
  if (o.shape[1] % 32 !== 0) return `blocks of 32 do not divide ${o.shape[1]} columns`
  if (o.group !== Infinity && o.group % 32 !== 0) return `groups of ${o.group} are no whole blocks of 32`
  if (typeFor(o) === undefined) return `no type holds ${o.bits} bits with ${o.mins ? "minima" : "zero points"}`
  return o.scales === "f16" ? undefined : `scales are f16 there, not ${o.scales}`
}

/** The same matrix in blocks of a ggml type: the codes of each, with the scale of its group. */
export function blocksOf(module: string, codes: IntegerCodes | MicroCodes): { readonly format: BlockFormat; readonly parts: Readonly<Record<string, Part>> } {
  if (codes.kind === "micro") return microBlocks(module, codes)
  const { bits, shape, scales, zeros, mins, group } = codes, [rows, columns] = shape, groups = scales.shape[1]!
  const outline: IntegerOutline = { kind: "integer", shape, bits, group, scales: scales.dtype, zeros: zeros !== undefined, mins: mins !== undefined, ordered: codes.groupOf !== undefined }
  const problem = refusesBlocks(outline)
  if (problem !== undefined) return fail("value", "gguf", `'${module}' cannot be stored: ${problem}`)
  const name = typeFor(outline)!, { middle, bytes, min, fifth, codes: at } = types[name], out = new Uint8Array(rows * (columns / 32) * bytes), view = new DataView(out.buffer)
  for (let r = 0, begin = 0; r < rows; r++)
    for (let c = 0; c < columns; c += 32, begin += bytes) {
      const g = r * groups + (group === Infinity ? 0 : c / group | 0), zero = mins ? 0 : (zeros?.[g] ?? 2 ** (bits - 1))
      view.setUint16(begin, scales.data[g]!, true)
      if (min !== undefined) view.setUint16(begin + min, mins!.data[g]!, true)
      for (let i = 0; i < 32; i++) {
        const q = codes.codes[r * columns + c + i]! - zero + middle
        if (name === "Q8_0") view.setInt8(begin + at + i, q)
        else {
          out[begin + at + (i & 15)]! |= (q & 15) << (i < 16 ? 0 : 4)
          if (fifth !== undefined) out[begin + fifth + (i >> 3)]! |= (q >> 4) << (i & 7)
        }
      }
    }
  return { format: ggml[name], parts: ggml[name].split(out, shape) }
}

/** MXFP4: an exponent, and 16 bytes of which j holds elements j and j + 16. */
function microBlocks(module: string, { shape, codes, scales, divisor }: MicroCodes): ReturnType<typeof blocksOf> {
  if (divisor !== undefined) fail("value", "gguf", `'${module}' cannot be stored: a number divides all of its scales`)
  const out = new Uint8Array(scales.length * 17)
  scales.forEach((e, b) => {
    out[b * 17] = e
    for (let j = 0; j < 16; j++) out[b * 17 + 1 + j] = codes[b * 32 + j]! | codes[b * 32 + 16 + j]! << 4
  })
  return { format: ggml.MXFP4, parts: ggml.MXFP4.split(out, shape) }
}
