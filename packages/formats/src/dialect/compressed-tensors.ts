import { fail, type DType, type Part } from "@thimble/core"
import type { Bits } from "../packing.ts"
import { groupsOf, microGroup, plainGroups, turned, type FloatCodes, type IntegerCodes, type IntegerOutline, type MatrixShape, type MicroCodes } from "./codes.ts"
import { ModuleReader, stored, storedPart, type StoredModule } from "./stored.ts"
import { packWords, unpackWords } from "./words.ts"

// The tensors of vLLM's compressed-tensors; its settings are in compressed-settings.

/** How weights of a module are stored, as a `config_groups` entry says it. */
export interface WeightScheme {
  readonly num_bits: Bits
  readonly type: "int" | "float"
  readonly symmetric: boolean
  readonly strategy: "group" | "tensor_group" | "channel" | "tensor" | "block"
  readonly group_size: number | null
  readonly block_structure?: readonly [rows: number, columns: number] | null
  readonly actorder?: "group" | "weight" | null
  /** What scales are stored in, where it is not the type of the model. */
  readonly scale_dtype?: string
}

function unfit({ shape: [, columns], group }: Pick<IntegerOutline, "shape" | "group">): string | undefined {
  return group !== Infinity && columns % group !== 0 ? `groups of ${group} do not divide ${columns} columns` : undefined
}
export { unfit as unfitGroups }

const refuseMins = (module: string, { mins }: IntegerCodes): void => {
  if (mins) fail("value", "compressed-tensors", `'${module}' cannot be stored: there are minima, and no zero points`, "mlx stores them")
}
const order = ({ groupOf, shape: [, columns] }: IntegerCodes): StoredModule => (groupOf ? { weight_g_idx: stored("I32", [columns], groupOf) } : {})

/** pack-quantized: codes packed along the inputs, zero points along the outputs. */
export function writePacked(module: string, codes: IntegerCodes): StoredModule {
  const { bits, shape: [rows, columns], scales, zeros } = codes, groups = scales.shape[1]!, width = Math.ceil((columns * bits) / 32), height = Math.ceil((rows * bits) / 32)
  refuseMins(module, codes)
  const problem = unfit(codes)
  if (problem !== undefined) fail("shape", "compressed-tensors", `'${module}' cannot be stored: ${problem}`, "another group, or keep it dense")
  return {
    weight_packed: stored("I32", [rows, width], packWords(codes.codes, rows, columns, bits)),
    weight_scale: storedPart(scales),
    weight_shape: stored("I64", [2], BigInt64Array.of(BigInt(rows), BigInt(columns))),
    ...(zeros && { weight_zero_point: stored("I32", [height, groups], turned(packWords(turned(zeros, rows, groups), groups, rows, bits), groups, height)) }),
    ...order(codes),
  }
}

/** int-quantized and naive-quantized: codes in a byte each, signed. */
export function writeBytes(module: string, codes: IntegerCodes): StoredModule {
  const { bits, shape: [rows, columns], scales, zeros } = codes, middle = 2 ** (bits - 1), signed = (a: Uint8Array): Int8Array => Int8Array.from(a, (q) => q - middle)
  refuseMins(module, codes)
  const problem = unfit(codes)
  if (problem !== undefined) fail("shape", "compressed-tensors", `'${module}' cannot be stored: ${problem}`, "another group, or keep it dense")
  return {
    weight: stored("I8", [rows, columns], signed(codes.codes)),
    weight_scale: storedPart(scales),
    ...(zeros && { weight_zero_point: stored("I8", scales.shape, signed(zeros)) }),
    ...order(codes),
  }
}

/** float-quantized: 8-bit floats and their scales, a single one as a vector. */
export function writeFloats({ shape, codes, scales, block }: FloatCodes): StoredModule {
  const all = block[0] === Infinity && block[1] === Infinity
  return { weight: stored("F8_E4M3", shape, codes), weight_scale: { ...storedPart(scales), shape: all ? [1] : scales.shape } }
}

/** mxfp4-pack-quantized and nvfp4-pack-quantized: two codes to a byte, the first in its low half. */
export function writeMicro(module: string, { shape: [rows, columns], codes, scales, divisor }: MicroCodes): StoredModule {
  const group = microGroup(divisor !== undefined)
  if (columns % group !== 0) fail("shape", "compressed-tensors", `'${module}' cannot be stored: groups of ${group} do not divide ${columns} columns`, "keep it dense")
  return {
    weight_packed: stored("U8", [rows, columns / 2], Uint8Array.from({ length: codes.length / 2 }, (_, i) => codes[2 * i]! | codes[2 * i + 1]! << 4)),
    weight_scale: stored(divisor === undefined ? "U8" : "F8_E4M3", [rows, columns / group], scales),
    ...(divisor !== undefined && { weight_global_scale: stored("F32", [1], Float32Array.of(divisor)) }),
  }
}

/** Reads whichever of them a module's tensors are. */
export function readCompressed(module: string, tensors: StoredModule, shape: MatrixShape, scheme: WeightScheme): IntegerCodes | FloatCodes | MicroCodes {
  const from = new ModuleReader("compressed-tensors", module, tensors)
  if (scheme.type === "float" && scheme.num_bits === 4) return readMicro(from, shape, scheme)
  return scheme.type === "float" ? readFloats(from, shape, scheme) : readIntegers(from, shape, scheme)
}

function readMicro(from: ModuleReader, shape: MatrixShape, { group_size: size, strategy }: WeightScheme): MicroCodes {
  const [rows, columns] = shape, divided = strategy === "tensor_group", group = microGroup(divided)
  if (size !== group || columns % group !== 0) from.refuse(`has groups of ${size} for ${columns} columns`, "MXFP4 has 32, NVFP4 16")
  const packed = from.take("weight_packed", ["U8"], [rows, columns / 2]).data as Uint8Array
  const scales = from.take("weight_scale", divided ? ["F8_E4M3"] : ["U8", "F8_E8M0"], [rows, columns / group]).data as Uint8Array
  return {
    kind: "micro", shape, codes: Uint8Array.from({ length: rows * columns }, (_, i) => (packed[i >> 1]! >> ((i & 1) * 4)) & 15), scales,
    ...(divided && { divisor: (from.take("weight_global_scale", ["F32"], [1]).data as Float32Array)[0]! }),
  }
}

function readFloats(from: ModuleReader, shape: MatrixShape, { num_bits: bits, strategy, group_size: size, block_structure: structure }: WeightScheme): FloatCodes {
  if (bits !== 8) from.refuse(`has floats of ${bits} bits`, "8-bit floats are read")
  const { data } = from.take("weight", ["F8_E4M3"], shape), [rows, columns] = shape
  const block: readonly [number, number] = strategy === "tensor" ? [Infinity, Infinity] : strategy === "channel" ? [1, Infinity] : strategy === "group" ? [1, size ?? from.refuse("has no group_size")] : (structure ?? from.refuse("has no block_structure"))
  const want = [groupsOf(rows, block[0]), groupsOf(columns, block[1])], { shape: own } = from.take("weight_scale", ["F16", "BF16", "F32"])
  const part = from.floats("weight_scale", own)
  if (part.data.length !== want[0]! * want[1]!) from.refuse(`has ${part.data.length} scales, not ${want.join(" × ")}`)
  return { kind: "float", shape, codes: data as Uint8Array, scales: { ...part, shape: want }, block }
}

function readIntegers(from: ModuleReader, shape: MatrixShape, { num_bits: bits, symmetric, strategy, group_size: size }: WeightScheme): IntegerCodes {
  const [rows, columns] = shape, middle = 2 ** (bits - 1), packed = from.has("weight_packed")
  const group = strategy === "group" ? (size !== null && size >= 1 ? size : from.refuse("has no group_size")) : strategy === "channel" || strategy === "tensor" ? Infinity : from.refuse(`has integers by ${strategy}`)
  const groups = groupsOf(columns, group), scales = strategy === "tensor" ? repeated(from.floats("weight_scale", [1]), rows) : from.floats("weight_scale", [rows, groups])
  const unsigned = (data: Int8Array): Uint8Array => {
    const out = Uint8Array.from(data, (q) => q + middle)
    return out.every((q) => q < 2 * middle) ? out : from.refuse(`has codes beyond ${bits} bits`)
  }
  if (packed) {
    const said = from.take("weight_shape", ["I64", "I32"], [2]).data
    if (Number(said[0]) !== rows || Number(said[1]) !== columns) from.refuse(`is [${String(said[0])}, ${String(said[1])}], not [${rows}, ${columns}]`)
  }
  const height = Math.ceil((rows * bits) / 32)
  const zeros = symmetric ? undefined
    : packed ? turned(unpackWords(turned(from.words("weight_zero_point", [height, groups]), height, groups), groups, rows, bits), groups, rows)
    : unsigned(from.take("weight_zero_point", ["I8"], [rows, groups]).data as Int8Array)
  const groupOf = from.has("weight_g_idx") ? from.words("weight_g_idx", [columns]) : undefined
  if (groupOf?.some((g) => g < 0 || g >= groups)) from.refuse(`has a 'weight_g_idx' that goes beyond ${groups} groups`)
  const plain = plainGroups(columns, group)
  return {
    kind: "integer", bits, shape, group, scales,
    // Before 2026 words held whole codes only; of 4 and 8 bits that is the same.
    codes: packed ? unpackWords(from.words("weight_packed", [rows, Math.ceil((columns * bits) / 32)]), rows, columns, bits) : unsigned(from.take("weight", ["I8"], shape).data as Int8Array),
    ...(zeros && { zeros }),
    ...(groupOf && !groupOf.every((g, c) => g === plain[c]) && { groupOf }),
  }
}

/** The scale of a matrix as one of each row. */
function repeated({ data, dtype }: Part, rows: number): Part {
  const out = data.slice(0, 0).constructor as new (n: number) => Part["data"]
  return { data: new out(rows).fill(data[0]!), shape: [rows, 1], dtype: dtype as DType }
}
