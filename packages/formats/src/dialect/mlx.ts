import { decode, encode, fail, type DType, type Part } from "@thimble/core"
import { groupsOf, type IntegerCodes, type IntegerOutline, type MatrixShape } from "./codes.ts"
import { mostCommon, type Dialect } from "./dialect.ts"
import { chosen, groupSize, ModuleReader, stored, storedPart, type Settings, type StoredModule } from "./stored.ts"
import { packWords, unpackWords } from "./words.ts"

/** Bits of MLX's affine codes. */
export type MlxBits = 2 | 3 | 4 | 5 | 6 | 8
const widths: readonly MlxBits[] = [2, 3, 4, 5, 6, 8]
const groups: readonly number[] = [32, 64, 128]

/**
 * The minima m of ŵ = q · s + m: as they are, or −z · s. In the type of the scales where that is exact, or else both in f32, so
 * that the matrix stays the same.
 */
function affine({ scales, mins, zeros, bits }: IntegerCodes): { readonly scales: Part; readonly mins: Part } {
  if (mins) return { scales, mins }
  const value = (i: number): number => -(zeros?.[i] ?? 2 ** (bits - 1)) * decode(scales.dtype, scales.data[i]!), { length } = scales.data
  const fits = (dtype: DType): boolean => Array.from({ length }, (_, i) => value(i)).every((v) => decode(dtype, encode(dtype, v)) === v)
  if (fits(scales.dtype)) return { scales, mins: { ...scales, data: scales.data.map((_, i) => encode(scales.dtype, value(i))) } }
  const wide = (of: (i: number) => number): Part => ({ data: Float32Array.from({ length }, (_, i) => of(i)), shape: scales.shape, dtype: "f32" })
  return { scales: wide((i) => decode(scales.dtype, scales.data[i]!)), mins: wide(value) }
}

function unfit({ shape: [, columns], group, bits }: Pick<IntegerOutline, "shape" | "group" | "bits">): string | undefined {
  if (!groups.includes(group)) return `groups are of 32, 64 or 128 there, not ${group === Infinity ? "whole rows" : group}`
  if (columns % group !== 0) return `groups of ${group} do not divide ${columns} columns`
  return (columns * bits) % 32 !== 0 ? `${columns} columns of ${bits} bits end within a word of 32` : undefined
}

/** The tensors of a module: words along the inputs, scales and biases [out, groups]. */
export function writeMlx(module: string, codes: IntegerCodes<MlxBits>): StoredModule {
  const { bits, shape: [rows, columns] } = codes
  const problem = !widths.includes(bits) ? `there are ${bits as number} bits` : codes.groupOf ? "its groups are in another order" : unfit(codes)
  if (problem !== undefined) fail("shape", "mlx", `'${module}' cannot be stored: ${problem}`, "another group, or keep it dense")
  const { scales, mins } = affine(codes), words = packWords(codes.codes, rows, columns, bits)
  return { weight: stored("U32", [rows, (columns * bits) / 32], new Uint32Array(words.buffer)), scales: storedPart(scales), biases: storedPart(mins) }
}

/** Codes of a module [out, in]; bits are told by the size of its words. */
export function readMlx(module: string, tensors: StoredModule, shape: MatrixShape, { group }: { readonly group: number }): IntegerCodes<MlxBits> {
  const from = new ModuleReader("mlx", module, tensors), [rows, columns] = shape
  const packed = from.take("weight", ["U32"], [rows, -1]), bits = widths.find((b) => b * columns === packed.shape[1]! * 32)
  if (bits === undefined) return from.refuse(`has ${packed.shape[1]} words for ${columns} columns`)
  const scales = from.floats("scales", [rows, groupsOf(columns, group)]), mins = from.floats("biases", scales.shape)
  if (mins.dtype !== scales.dtype) from.refuse(`has scales of ${scales.dtype} and biases of ${mins.dtype}`)
  return { kind: "integer", bits, shape, group, codes: unpackWords(packed.data as Uint32Array, rows, columns, bits), scales, mins }
}

const settingsOf = ({ group, bits }: IntegerOutline): Settings => ({ group_size: group, bits })

/** MLX's affine checkpoints. */
export const mlxDialect: Dialect = {
  name: "mlx",
  fields: ["quantization", "quantization_config"],
  suffixes: ["weight", "scales", "biases"],
  isPacked: (types) => types.scales !== undefined && types.weight === "U32",
  reader(said) {
    chosen("mlx", said, "mode", ["affine"], "affine")
    const group = groupSize("mlx", said, "group_size")
    const own = (module: string): unknown => said[module]
    return {
      isKept: (module) => own(module) === false,
      read: (module, tensors, shape) => readMlx(module, tensors, shape, { group: typeof own(module) === "object" ? groupSize("mlx", own(module) as Settings, "group_size", group) : group }),
    }
  },
  refuses(o, { transposed }) {
    if (transposed) return "its libraries turn modules that store weights as [in, out] when they load them"
    if (o.kind !== "integer") return "it holds integers with a scale per group"
    if (!widths.includes(o.bits as MlxBits)) return `it holds 2, 3, 4, 5, 6 or 8 bits, not ${o.bits}`
    return o.ordered ? "groups are neighbours there" : unfit(o)
  },
  writer({ packed }) {
    const all = [...packed].map(([module, o]) => ({ module, own: settingsOf(o as IntegerOutline) })), key = (own: Settings): string => JSON.stringify(own)
    const bulk = mostCommon(all, ({ own }) => key(own))?.own ?? { group_size: 64, bits: 4 }
    return {
      settings: { ...bulk, mode: "affine", ...Object.fromEntries(all.filter(({ own }) => key(own) !== key(bulk)).map(({ module, own }) => [module, own])) },
      write: (module, codes) => (codes.kind === "integer" ? writeMlx(module, codes as IntegerCodes<MlxBits>) : fail("value", "mlx", `'${module}' is ${codes.kind}, not integers`)),
    }
  },
}
