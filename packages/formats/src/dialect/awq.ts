import { fail } from "@thimble/core"
import { groupsOf, turned, turnedPart, type IntegerCodes, type IntegerOutline, type MatrixShape } from "./codes.ts"
import { inGroup, type Dialect } from "./dialect.ts"
import { chosen, groupSize, ModuleReader, names, stored, storedPart, type StoredModule } from "./stored.ts"
import { packWords, unpackWords } from "./words.ts"

/** Where the eight neighbours of a word stand in it, from the lowest nibble on. Source: AutoAWQ, WQLinear_GEMM. */
const order = [0, 2, 4, 6, 1, 3, 5, 7] as const

/** Codes [lines, length] with each eight neighbours in the order of words, or back. */
function shuffled(codes: Uint8Array, back = false): Uint8Array {
  const out = new Uint8Array(codes.length)
  for (let from = 0; from < codes.length; from += 8) for (let i = 0; i < 8; i++) out[from + (back ? order[i]! : i)] = codes[from + (back ? i : order[i]!)]!
  return out
}

function unfit({ shape: [rows, columns], group }: Pick<IntegerOutline, "shape" | "group">): string | undefined {
  if (rows % 8 !== 0) return `${rows} rows end within a word of 8 codes`
  return group !== Infinity && columns % group !== 0 ? `groups of ${group} do not divide ${columns} columns` : undefined
}

/** The tensors of a module, all along the inputs: words hold eight outputs. */
export function writeAwq(module: string, codes: IntegerCodes<4>): StoredModule {
  const { shape: [rows, columns], scales } = codes, groups = scales.shape[1]!
  const problem = (codes.bits as number) !== 4 ? `there are ${codes.bits as number} bits` : codes.mins ? "there are minima, and no zero points" : codes.groupOf ? "its groups are in another order" : unfit(codes)
  if (problem !== undefined) fail("shape", "awq", `'${module}' cannot be stored: ${problem}`, "four bits in groups that divide the columns, or keep it dense")
  const zeros = codes.zeros ?? new Uint8Array(rows * groups).fill(8)
  return {
    qweight: stored("I32", [columns, rows / 8], packWords(shuffled(turned(codes.codes, rows, columns)), columns, rows, 4)),
    qzeros: stored("I32", [groups, rows / 8], packWords(shuffled(turned(zeros, rows, groups)), groups, rows, 4)),
    scales: storedPart(turnedPart(scales)),
  }
}

/** Codes of a module [out, in]. */
export function readAwq(module: string, tensors: StoredModule, shape: MatrixShape, { group }: { readonly group: number }): IntegerCodes<4> {
  const from = new ModuleReader("awq", module, tensors), [rows, columns] = shape
  if (rows % 8 !== 0) from.refuse(`has ${rows} rows, which end within a word of 8 codes`)
  const groups = groupsOf(columns, group), words = (name: string, lines: number): Uint8Array => turned(shuffled(unpackWords(from.words(name, [lines, rows / 8]), lines, rows, 4), true), lines, rows)
  return { kind: "integer", bits: 4, shape, group, codes: words("qweight", columns), zeros: words("qzeros", groups), scales: turnedPart(from.floats("scales", [groups, rows])) }
}

/** AutoAWQ's checkpoints in the layout of its GEMM kernels. */
export const awqDialect: Dialect = {
  name: "awq",
  fields: ["quantization_config"],
  suffixes: ["qweight", "qzeros", "scales"],
  isPacked: (types) => types.qweight !== undefined,
  reader(said) {
    chosen("awq", { bits: said.bits ?? said.w_bit }, "bits", [4])
    chosen("awq", { version: String(said.version ?? "gemm").toLowerCase() }, "version", ["gemm"])
    chosen("awq", said, "zero_point", [true], true)
    const group = groupSize("awq", { group_size: said.group_size ?? said.q_group_size }, "group_size"), kept = names("awq", said, "modules_to_not_convert")
    return { isKept: (module) => kept.some((name) => inGroup(module, name)), read: (module, tensors, shape) => readAwq(module, tensors, shape, { group }) }
  },
  refuses(o, { embedding, head, transposed }) {
    if (embedding || head) return `${embedding ? "embeddings" : "heads"} stay floats`
    if (transposed) return "its libraries do not know modules that store weights as [in, out]"
    if (o.kind !== "integer") return "it holds integers with a scale per group"
    if (o.bits !== 4) return `it holds 4 bits, not ${o.bits}`
    if (o.mins) return "groups have zero points there, and no minima"
    if (o.ordered) return "groups are neighbours there"
    return o.scales === "f16" ? unfit(o) : `scales are f16 there, not ${o.scales}`
  },
  common: (o) => `groups of ${(o as IntegerOutline).group}`,
  writer({ packed, kept }) {
    const group = (packed.values().next().value as IntegerOutline | undefined)?.group ?? 128
    return {
      settings: { quant_method: "awq", bits: 4, group_size: group === Infinity ? -1 : group, zero_point: true, version: "gemm", modules_to_not_convert: kept.length > 0 ? kept : null },
      write: (module, codes) => (codes.kind === "integer" ? writeAwq(module, codes as IntegerCodes<4>) : fail("value", "awq", `'${module}' is ${codes.kind}, not integers`)),
    }
  },
}
