import { decode, fail, type TypedArray } from "@thimble/core"
import { books } from "./books.ts"
import type { BookCodes, BookName, Codes, IntegerCodes, MatrixShape, NestedAbsmax, Outline, RowCodes } from "./codes.ts"
import type { Dialect } from "./dialect.ts"
import { inGroup } from "./dialect.ts"
import { ModuleReader, names, stored, type StoredModule } from "./stored.ts"

const op = "bitsandbytes"
const stateOf = (book: BookName): string => `weight.quant_state.bitsandbytes__${book}`

/** The tensors of a 4-bit module; `dtype` is what it computes in, as torch calls it. */
export function writeBook({ book, shape: [rows, columns], codes, block, absmax }: BookCodes, { dtype }: { readonly dtype: string }): StoredModule {
  const nested = absmax instanceof Float32Array ? undefined : absmax
  const state = {
    quant_type: book, blocksize: block, dtype, shape: [rows, columns],
    ...(nested && { nested_blocksize: nested.size, nested_dtype: "float32", nested_offset: nested.offset }),
  }
  const json = new TextEncoder().encode(JSON.stringify(state))
  return {
    weight: stored("U8", [codes.length, 1], codes),
    "weight.absmax": nested ? stored("U8", [nested.codes.length], nested.codes) : stored("F32", [(absmax as Float32Array).length], absmax as Float32Array),
    "weight.quant_map": stored("F32", [16], books[book]),
    ...(nested && { "weight.nested_absmax": stored("F32", [nested.absmax.length], nested.absmax), "weight.nested_quant_map": stored("F32", [256], nested.map) }),
    [stateOf(book)]: stored("U8", [json.length], json),
  }
}

/** Codes of a 4-bit module [out, in]. */
export function readBook(module: string, tensors: StoredModule, shape: MatrixShape): BookCodes {
  const from = new ModuleReader(op, module, tensors), n = shape[0] * shape[1]
  const book = (["nf4", "fp4"] as const).find((b) => from.has(stateOf(b))) ?? from.refuse("has no quant_state of nf4 or fp4")
  const state = parseState(from, from.take(stateOf(book), ["U8"]).data as Uint8Array), block = count(from, state, "blocksize"), blocks = Math.ceil(n / block)
  if (String(state.shape) !== String(shape)) from.refuse(`has a quant_state of shape ${JSON.stringify(state.shape)}, not [${shape.join(", ")}]`)
  const codes = from.take("weight", ["U8"], [Math.ceil(n / 2), 1]).data as Uint8Array
  const map = from.take("weight.quant_map", ["F32"], [16]).data as Float32Array
  if (!books[book].every((v, i) => v === map[i])) from.refuse(`has a quant_map that is not ${book}'s`)
  const common = { kind: "book", book, shape, codes, block } as const
  if (!from.has("weight.nested_absmax")) return { ...common, absmax: from.take("weight.absmax", ["F32"], [blocks]).data as Float32Array }
  const size = count(from, state, "nested_blocksize"), offset = typeof state.nested_offset === "number" ? Math.fround(state.nested_offset) : from.refuse("has a quant_state without 'nested_offset'")
  return {
    ...common,
    absmax: {
      codes: from.take("weight.absmax", ["U8"], [blocks]).data as Uint8Array, map: from.take("weight.nested_quant_map", ["F32"], [256]).data as Float32Array,
      absmax: from.take("weight.nested_absmax", ["F32"], [Math.ceil(blocks / size)]).data as Float32Array, offset, size,
    } satisfies NestedAbsmax,
  }
}

function parseState(from: ModuleReader, bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes))
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>
  } catch {
    // Told below, as anything else that is no object.
  }
  return from.refuse("has a quant_state that is no JSON object")
}
const count = (from: ModuleReader, state: Readonly<Record<string, unknown>>, key: string): number =>
  Number.isInteger(state[key]) && (state[key] as number) >= 1 ? (state[key] as number) : from.refuse(`has a quant_state whose '${key}' is ${JSON.stringify(state[key])}`)

/** The tensors of a module of LLM.int8(). */
export function writeRows({ shape, codes, absmax }: RowCodes): StoredModule {
  return { weight: stored("I8", shape, codes), SCB: stored("F32", [shape[0]], absmax), weight_format: stored("U8", [], new Uint8Array(1)) }
}
/** Codes of a module [out, in] of LLM.int8(). */
export function readRows(module: string, tensors: StoredModule, shape: MatrixShape): RowCodes {
  const from = new ModuleReader(op, module, tensors)
  if (from.has("weight_format") && (from.take("weight_format", ["U8"], []).data as Uint8Array)[0] !== 0) from.refuse("is not stored row by row")
  return { kind: "rows", shape, codes: from.take("weight", ["I8"], shape).data as Int8Array, absmax: from.take("SCB", ["F32"], [shape[0]]).data as Float32Array }
}

/** Integers of 8 bits with a scale per row as rows of int8, if there are largest magnitudes that give just these scales. */
export function asRows({ shape, codes, scales }: IntegerCodes<8>): RowCodes | undefined {
  const own = Array.from(scales.data as TypedArray, (v) => decode(scales.dtype, v)), absmax = Float32Array.from(own, (s) => s * 127)
  if (!own.every((s, r) => Math.fround(absmax[r]! / 127) === s)) return undefined
  return { kind: "rows", shape, codes: Int8Array.from(codes, (q) => q - 128), absmax }
}

const isRows = (o: Outline): boolean => o.kind === "rows" || (o.kind === "integer" && o.bits === 8 && o.group === Infinity && !o.zeros && !o.mins && !o.ordered)

/** bitsandbytes: NF4 and FP4, nested or not, and LLM.int8(). */
export const bitsandbytesDialect: Dialect = {
  name: op,
  fields: ["quantization_config"],
  suffixes: ["weight", "weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map", stateOf("nf4"), stateOf("fp4"), "SCB", "weight_format"],
  isPacked: (types) => types.SCB !== undefined || types["weight.quant_map"] !== undefined,
  reader(said) {
    const kept = names(op, said, "llm_int8_skip_modules")
    return {
      isKept: (module) => kept.some((name) => inGroup(module, name)),
      read: (module, tensors, shape): Codes => ("SCB" in tensors ? readRows(module, tensors, shape) : readBook(module, tensors, shape)),
    }
  },
  refuses(o, { embedding, head }) {
    if (embedding || head) return `${embedding ? "embeddings" : "heads"} stay floats`
    if (isRows(o) || o.kind === "book") return undefined
    return "it holds nf4, fp4, or 8 bits with a scale per row"
  },
  common: (o) => (o.kind === "book" ? `${o.book} in blocks of ${o.block}${o.nested ? ", nested" : ""}` : "rows of int8"),
  writer({ packed, kept }, { dtype }) {
    const first = packed.values().next().value, book = first?.kind === "book" ? first : undefined
    return {
      // llm_int8_threshold is left to its default: transformers insists on 6.0, which JSON cannot tell from 6.
      settings: {
        quant_method: op, load_in_4bit: book !== undefined, load_in_8bit: book === undefined,
        bnb_4bit_quant_type: book?.book ?? "fp4", bnb_4bit_use_double_quant: book?.nested ?? false, bnb_4bit_compute_dtype: dtype, bnb_4bit_quant_storage: "uint8",
        llm_int8_skip_modules: kept.length > 0 ? kept : null, llm_int8_enable_fp32_cpu_offload: false, llm_int8_has_fp16_weight: false,
      },
      write(module, codes) {
        if (codes.kind === "book") return writeBook(codes, { dtype })
        const rows = codes.kind === "rows" ? codes : codes.kind === "integer" && codes.bits === 8 ? asRows(codes as IntegerCodes<8>) : undefined
        return rows === undefined ? fail("value", op, `'${module}' has scales that are no largest magnitude divided by 127`, "f16 or bf16 scales are") : writeRows(rows)
      },
    }
  },
}
