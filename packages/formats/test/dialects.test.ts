import { f16Value, quantizedWeight, uploadParts, type Part } from "@thimble/core"
import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  asRows, blocksOf, dialects, isCoded, readAwq, readBook, readCompressed, readGptq, readMlx, readRows, readSparse, storeCodes, writeAwq, writeBook, writeBytes, writeFloats, writeGptq, writeMicro, writeMlx, writePacked, writeRows, writeSparse,
  type Bits, type BookCodes, type Codes, type FloatCodes, type IntegerCodes, type MicroCodes, type RowCodes, type StoredModule, type WeightScheme,
} from "../src/index.ts"
import { packWords, unpackWords } from "../src/dialect/words.ts"
import { integerCodes } from "./codes-arbitrary.ts"

const runs = { numRuns: Number(globalThis.process?.env?.THIMBLE_RUNS ?? 40), seed: Number(globalThis.process?.env?.THIMBLE_SEED ?? 5) }
const all = <T>(arbitrary: fc.Arbitrary<T>, law: (t: T) => void | Promise<void>): Promise<void> => Promise.resolve(fc.assert(fc.asyncProperty(arbitrary, async (t) => law(t)), runs))
const widths = [2, 3, 4, 8] as const, any: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8]
const nothing: StoredModule = {}
/** The matrix that codes stand for, from their definition. */
function matrixOf({ bits, shape: [rows, columns], codes, scales, zeros, mins, group, groupOf }: IntegerCodes): number[] {
  const groups = scales.shape[1]!, f = Math.fround
  return Array.from({ length: rows * columns }, (_, i) => {
    const r = Math.floor(i / columns), c = i % columns, g = r * groups + (groupOf?.[c] ?? (group === Infinity ? 0 : Math.floor(c / group))), s = f16Value(scales.data[g]!)
    return mins ? f(f(codes[i]! * s) + f16Value(mins.data[g]!)) : f((codes[i]! - (zeros?.[g] ?? 2 ** (bits - 1))) * s)
  })
}
const dense = async ({ format, parts }: ReturnType<typeof storeCodes>, shape: readonly [number, number]): Promise<number[]> => Array.from(await quantizedWeight(format, shape, uploadParts(parts)).dense().data())
const schemeOf = ({ bits, zeros, group }: IntegerCodes): WeightScheme => ({ num_bits: bits, type: "int", symmetric: zeros === undefined, strategy: group === Infinity ? "channel" : "group", group_size: group === Infinity ? null : group })

describe("words", () => {
  test("unpacked again they are the codes, of any number of bits and any length; bits that no code has are 0", () =>
    all(fc.tuple(fc.constantFrom(...any), fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 70 })).chain(([bits, lines, length]) => fc.tuple(fc.constant([bits, lines, length] as const), fc.uint8Array({ minLength: lines * length, maxLength: lines * length }))), ([[bits, lines, length], raw]) => {
      const codes = raw.map((v) => v & (2 ** bits - 1)), words = packWords(codes, lines, length, bits), used = (length * bits) % 32
      expect(unpackWords(words, lines, length, bits)).toEqual(codes)
      expect(words.length).toBe(lines * Math.ceil((length * bits) / 32))
      if (used > 0) for (let line = 1; line <= lines; line++) expect(words[(line * words.length) / lines - 1]! >>> used).toBe(0)
    }))
})

describe("read(write(codes)) is codes", () => {
  test.each([1, 2] as const)("GPTQ v%i: zero points of 0 and of the largest code, any order of groups", (version) =>
    all(integerCodes({ bits: widths, unit: [32, 32], group: [8, 32, Infinity], ordered: true }), (codes) => {
      expect(readGptq("m", writeGptq("m", codes, { version }), codes.shape, { version, group: codes.group, symmetric: codes.zeros === undefined })).toEqual(codes)
    }))
  test("AWQ, where zero points are always written", () =>
    all(integerCodes({ bits: [4], unit: [8, 32], group: [16, 32, Infinity] }), (codes) => {
      const zeros = codes.zeros ?? new Uint8Array(codes.scales.data.length).fill(8)
      expect(readAwq("m", writeAwq("m", codes), codes.shape, { group: codes.group })).toEqual({ ...codes, zeros })
    }))
  test("compressed-tensors, packed and in bytes, from 1 bit to 8, rows that end within words", () =>
    all(integerCodes({ bits: any, unit: [5, 12], group: [4, 12, Infinity], ordered: true }), (codes) => {
      expect(readCompressed("m", writePacked("m", codes), codes.shape, schemeOf(codes))).toEqual(codes)
      expect(readCompressed("m", writeBytes("m", codes), codes.shape, schemeOf(codes))).toEqual(codes)
    }))
  test("MLX, with minima", () =>
    all(integerCodes({ bits: [2, 3, 4, 5, 6, 8], unit: [3, 64], group: [32, 64], zeros: false, mins: true }), (codes) => {
      expect(readMlx("m", writeMlx("m", codes), codes.shape, { group: codes.group })).toEqual(codes)
    }))
  const books = fc.tuple(fc.constantFrom("nf4" as const, "fp4" as const), fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 70 }), fc.constantFrom(32, 64), fc.boolean()).chain(([book, rows, columns, block, nested]) => {
    const blocks = Math.ceil((rows * columns) / block), floats = (n: number): fc.Arbitrary<Float32Array> => fc.float32Array({ minLength: n, maxLength: n, noNaN: true, noDefaultInfinity: true, min: 0, max: 4 })
    return fc.record({ codes: fc.uint8Array({ minLength: Math.ceil((rows * columns) / 2), maxLength: Math.ceil((rows * columns) / 2) }), absmax: floats(blocks), small: fc.uint8Array({ minLength: blocks, maxLength: blocks }), map: floats(256), large: floats(Math.ceil(blocks / 256)) }).map(
      (own): BookCodes => ({ kind: "book", book, shape: [rows, columns], block, codes: own.codes, absmax: nested ? { codes: own.small, map: own.map, absmax: own.large, offset: 0.125, size: 256 } : own.absmax }))
  })
  test("bitsandbytes, 4 bits, blocks that end within rows", () => all(books, (codes) => {
    expect(readBook("m", writeBook(codes, { dtype: "bfloat16" }), codes.shape)).toEqual(codes)
  }))
  test("bitsandbytes, rows of int8", () =>
    all(fc.tuple(fc.int8Array({ minLength: 12, maxLength: 12 }), fc.float32Array({ minLength: 3, maxLength: 3, noNaN: true })), ([codes, absmax]) => {
      const rows: RowCodes = { kind: "rows", shape: [3, 4], codes, absmax }
      expect(readRows("m", writeRows(rows), rows.shape)).toEqual(rows)
    }))
  const floats = fc.tuple(fc.constantFrom<readonly [number, number]>([1, Infinity], [Infinity, Infinity], [2, 3]), fc.uint8Array({ minLength: 30, maxLength: 30 })).map(([block, codes]): FloatCodes => {
    const shape = [Math.ceil(5 / Math.min(block[0], 5)), Math.ceil(6 / Math.min(block[1], 6))] as const
    return { kind: "float", shape: [5, 6], block, codes, scales: { data: Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => 0.1 + i), shape, dtype: "f32" } }
  })
  test("8-bit floats, a scale per row, block or matrix", () =>
    all(floats, (codes) => {
      const strategy = codes.block[0] === 2 ? "block" : codes.block[0] === 1 ? "channel" : "tensor"
      expect(readCompressed("m", writeFloats(codes), codes.shape, { num_bits: 8, type: "float", symmetric: true, strategy, group_size: null, block_structure: [2, 3] })).toEqual(codes)
    }))

  const micro = fc.tuple(fc.boolean(), fc.uint8Array({ minLength: 192, maxLength: 192 }), fc.uint8Array({ minLength: 12, maxLength: 12 })).map(([divided, codes, scales]): MicroCodes =>
    ({ kind: "micro", shape: [2, 96], codes: codes.map((q) => q & 15), ...(divided ? { scales, divisor: 1.7 } : { scales: scales.slice(0, 6) }) }))
  test("MXFP4 and NVFP4", () =>
    all(micro, (codes) => {
      const divided = codes.divisor !== undefined
      const read = readCompressed("m", writeMicro("m", codes), codes.shape, { num_bits: 4, type: "float", symmetric: true, strategy: divided ? "tensor_group" : "group", group_size: divided ? 16 : 32 })
      expect(read).toEqual(divided ? { ...codes, divisor: Math.fround(1.7) } : codes)
    }))

  test("and what a weight stores them in gives them back", () =>
    all(fc.oneof<fc.Arbitrary<Codes>[]>(integerCodes({ bits: any, unit: [3, 7], group: [4, Infinity], ordered: true }), integerCodes({ bits: any, unit: [2, 9], group: [9], zeros: false, mins: true }), books, floats, micro.map((m) => (m.divisor === undefined ? m : { ...m, divisor: 1.5 }))), (codes) => {
      const { format, parts } = storeCodes(codes)
      expect(isCoded(format)).toBe(true)
      expect(format.codes({ ...format.tables, ...parts }, codes.shape)).toEqual(codes)
    }))
})

describe("the weight is the matrix", () => {
  test("of integers with zero points, minima and orders", () =>
    all(fc.oneof(integerCodes({ bits: any, unit: [3, 7], group: [4, Infinity], ordered: true }), integerCodes({ bits: any, unit: [2, 9], group: [9], zeros: false, mins: true })), async (codes) => {
      expect((await dense(storeCodes(codes), codes.shape)).map((v) => v + 0)).toEqual(matrixOf(codes).map((v) => v + 0))
    }))
  test("also by way of other dialects", () =>
    all(integerCodes({ bits: [4], unit: [32, 64], group: [32, 64] }), async (codes) => {
      const want = matrixOf(codes).map((v) => v + 0), { shape, group } = codes
      for (const other of [readAwq("m", writeAwq("m", codes), shape, { group }), readCompressed("m", writePacked("m", codes), shape, schemeOf(codes)), readMlx("m", writeMlx("m", codes), shape, { group })])
        expect((await dense(storeCodes(other), shape)).map((v) => v + 0)).toEqual(want)
      const { format, parts } = blocksOf("m", codes)
      expect(Array.from(await quantizedWeight(format, shape, uploadParts(parts)).dense().data(), (v) => v + 0)).toEqual(want)
    }))
  test("in blocks of GGUF files", () =>
    all(fc.oneof(integerCodes({ bits: [1, 2, 3, 4, 5, 6, 7], unit: [2, 64], group: [32, 64, Infinity] }), integerCodes({ bits: [8], unit: [2, 32], zeros: false }), integerCodes({ bits: [2, 3, 4, 5], unit: [2, 32], zeros: false, mins: true })), async (codes) => {
      const { format, parts } = blocksOf("m", codes)
      expect(Array.from(await quantizedWeight(format, codes.shape, uploadParts(parts)).dense().data(), (v) => v + 0)).toEqual(matrixOf(codes).map((v) => v + 0))
    }))
  test("of 4-bit floats: value · 2^(e − 127), or value · (scale / divisor)", async () => {
    const values = [0, 0.5, 1, 1.5, 2, 3, 4, 6], codes = Uint8Array.from({ length: 64 }, (_, i) => i & 15), f = Math.fround, v = (q: number): number => (q & 8 ? -1 : 1) * values[q & 7]!
    const mx: MicroCodes = { kind: "micro", shape: [1, 64], codes, scales: Uint8Array.of(127, 120) }, nv: MicroCodes = { kind: "micro", shape: [1, 64], codes, scales: Uint8Array.of(0x38, 0x40, 0x3c, 0x7e), divisor: 3 }
    const wantMx = Array.from(codes, (q, i) => v(q) * 2 ** (i < 32 ? 0 : -7) + 0), wantNv = Array.from(codes, (q, i) => f(2 * v(q) * f(f([1, 2, 1.5, 448][i >> 4]! / 3) * 0.5)) + 0)
    expect((await dense(storeCodes(mx), [1, 64])).map((x) => x + 0)).toEqual(wantMx)
    expect((await dense(storeCodes(nv), [1, 64])).map((x) => x + 0)).toEqual(wantNv)
    const { format, parts } = blocksOf("m", mx)
    expect(Array.from(await quantizedWeight(format, [1, 64], uploadParts(parts)).dense().data(), (x) => x + 0)).toEqual(wantMx)
    expect(() => blocksOf("m", nv)).toThrow("gguf: 'm' cannot be stored: a number divides all of its scales")
  })
  test("8 bits by rows, as LLM.int8() has them", () =>
    all(integerCodes({ bits: [8], unit: [3, 5], group: [Infinity], zeros: false }), async (codes) => {
      expect((await dense(storeCodes(asRows(codes)!), codes.shape)).map((v) => v + 0)).toEqual(matrixOf(codes).map((v) => v + 0))
    }))
})

test("a scale in f32 need not be the 127th part of a number, and then no row of LLM.int8() has it", () => {
  const scale = (v: number): IntegerCodes<8> => ({ ...codesOf(8, [1, 4], Infinity), bits: 8, scales: { data: Float32Array.of(v), shape: [1, 1], dtype: "f32" } })
  const all = Array.from({ length: 256 }, (_, i) => 1.5 + i * 2 ** -23), kept = all.filter((s) => asRows(scale(s)) !== undefined)
  expect(kept.length).toBeLessThan(256)
  for (const s of kept) expect(Math.fround(asRows(scale(s))!.absmax[0]! / 127)).toBe(s)
  // Those that an encoder divides out are.
  for (const amax of all) expect(asRows(scale(Math.fround(amax / 127)))).toBeDefined()
})

const codesOf = (bits: Bits, shape: readonly [number, number], group: number): IntegerCodes<never> => {
  const groups = group === Infinity ? 1 : Math.ceil(shape[1] / group), scales: Part = { data: new Uint16Array(shape[0] * groups), shape: [shape[0], groups], dtype: "f16" }
  return { kind: "integer", bits: bits as never, shape, group, codes: new Uint8Array(shape[0] * shape[1]), scales }
}
describe("what does not fit is refused, with the module, the values and what to do", () => {
  test.each([
    [() => writeGptq("h.0.up", codesOf(4, [32, 20], Infinity), { version: 1 }), "gptq: 'h.0.up' cannot be stored: 20 columns of 4 bits end within a word of 32; another group, or keep it dense"],
    [() => writeGptq("h.0.up", codesOf(3, [8, 32], 32), { version: 1 }), "gptq: 'h.0.up' cannot be stored: 8 rows of 3 bits end within a word of 32, in which zero points are packed; another group, or keep it dense"],
    [() => writeGptq("h.0.up", codesOf(4, [32, 96], 64), { version: 2 }), "gptq: 'h.0.up' cannot be stored: groups of 64 do not divide 96 columns; another group, or keep it dense"],
    [() => writeGptq("h.0.up", codesOf(5, [32, 32], 32), { version: 2 }), "gptq: 'h.0.up' cannot be stored: there are 5 bits; another group, or keep it dense"],
    [() => writeAwq("h.0.up", codesOf(4, [12, 32], 32)), "awq: 'h.0.up' cannot be stored: 12 rows end within a word of 8 codes; four bits in groups that divide the columns, or keep it dense"],
    [() => writeAwq("h.0.up", codesOf(3, [8, 32], 32)), "awq: 'h.0.up' cannot be stored: there are 3 bits; four bits in groups that divide the columns, or keep it dense"],
    [() => writePacked("h.0.up", codesOf(4, [8, 40], 32)), "compressed-tensors: 'h.0.up' cannot be stored: groups of 32 do not divide 40 columns; another group, or keep it dense"],
    [() => writeMlx("h.0.up", codesOf(4, [8, 32], 16)), "mlx: 'h.0.up' cannot be stored: groups are of 32, 64 or 128 there, not 16; another group, or keep it dense"],
    [() => blocksOf("h.0.up", codesOf(4, [8, 40], Infinity)), "gguf: 'h.0.up' cannot be stored: blocks of 32 do not divide 40 columns"],
    [() => readGptq("h.0.up", nothing, [32, 32], { version: 1, group: 32, symmetric: true }), "gptq: 'h.0.up' has no tensor 'qweight'; it has "],
    [() => readGptq("h.0.up", { ...writeGptq("h.0.up", codesOf(4, [32, 32], 32), { version: 1 }), g_idx: { dtype: "I32", shape: [32], data: new Int32Array(32).fill(1) } }, [32, 32], { version: 1, group: 32, symmetric: true }), "gptq: 'h.0.up' has a 'g_idx' that goes beyond 1 groups"],
    [() => readGptq("h.0.up", writeGptq("h.0.up", codesOf(4, [32, 64], 32), { version: 1 }), [32, 32], { version: 1, group: 32, symmetric: true }), "gptq: 'h.0.up' has a tensor 'g_idx' of I32[64], not I32[32]; does config.json belong to it?"],
    [() => readBook("h.0.up", { "weight.quant_state.bitsandbytes__nf4": { dtype: "U8", shape: [1], data: new Uint8Array(1) } }, [2, 2]), "bitsandbytes: 'h.0.up' has a quant_state that is no JSON object"],
  ])("%#", (call, message) => expect(call).toThrow(message))

  test("numbers of bits that a dialect does not have are errors of types", () => {
    const three = codesOf(3, [32, 32], 32) as IntegerCodes<3>, five = codesOf(5, [32, 32], 32) as IntegerCodes<5>
    // @ts-expect-error AWQ has four bits
    expect(() => writeAwq("m", three)).toThrow("there are 3 bits")
    // @ts-expect-error GPTQ has no five bits
    expect(() => writeGptq("m", five, { version: 1 })).toThrow("there are 5 bits")
    // @ts-expect-error a codebook is no integers
    expect(() => writeGptq("m", { kind: "book" }, { version: 1 })).toThrow()
  })
  test("zero points of 0 are not written to GPTQ v1 checkpoints, whose readers mistake them", () => {
    const codes: IntegerCodes = { ...codesOf(4, [32, 32], 32), zeros: new Uint8Array(32) }
    const writer = dialects.gptq.writer({ packed: new Map(), kept: [] }, { dtype: "float16" })
    expect(() => writer.write("h.0.up", codes)).toThrow("gptq: 'h.0.up' has zero points of 0, which readers of this version mistake; gptq_v2 stores them as they are")
  })
})

test("reading any bytes in tensors of the right sizes, or of others, gives codes that a weight can hold, or a refusal that names the module", async () => {
  const shape = [32, 64] as const, codes = codesOf(4, shape, 32), group = 32, dtype = { dtype: "bfloat16" }
  const nested = { codes: new Uint8Array(32), map: new Float32Array(256), absmax: new Float32Array(1), offset: 0, size: 256 }
  const scheme = { num_bits: 4, type: "int", symmetric: false, strategy: "group", group_size: 32 } as const, zeros = new Uint8Array(64)
  const cases: readonly (readonly [StoredModule, (s: StoredModule) => Codes])[] = [
    [writeGptq("m", { ...codes, groupOf: new Int32Array(64) }, { version: 1 }), (s) => readGptq("m", s, shape, { version: 1, group, symmetric: false })],
    [writeAwq("m", codes), (s) => readAwq("m", s, shape, { group })],
    [writePacked("m", { ...(codes as IntegerCodes), zeros, groupOf: new Int32Array(64) }), (s) => readCompressed("m", s, shape, scheme)],
    [writeBytes("m", { ...(codes as IntegerCodes), zeros }), (s) => readCompressed("m", s, shape, scheme)],
    [writeMicro("m", { kind: "micro", shape, codes: codes.codes, scales: new Uint8Array(128), divisor: 1 }), (s) => readCompressed("m", s, shape, { num_bits: 4, type: "float", symmetric: true, strategy: "tensor_group", group_size: 16 })],
    [writeBook({ kind: "book", book: "nf4", shape, block: 64, codes: new Uint8Array(1024), absmax: nested }, dtype), (s) => readBook("m", s, shape)],
    [writeRows({ kind: "rows", shape, codes: new Int8Array(2048), absmax: new Float32Array(32) }), (s) => readRows("m", s, shape)],
    [writeMlx("m", codes), (s) => readMlx("m", s, shape, { group })],
    ...(["sparse-bitmask", "sparse-24-bitmask"] as const).map((layout) => [writeSparse("m", { data: Float32Array.from({ length: 2048 }, (_, i) => (i % 3 === 0 ? i : 0)), shape, dtype: "f32" }, layout), (s: StoredModule) => readSparse("m", s, shape)] as const),
  ]
  const counts = { read: 0, refused: 0 }
  for (const [tensors, read] of cases)
    await all(fc.tuple(fc.constantFrom(...Object.keys(tensors)), fc.constantFrom("bytes", "shape", "gone"), fc.uint8Array({ minLength: 4, maxLength: 64 })), ([name, change, noise]) => {
      const { dtype: type, shape: own, data } = tensors[name]!, bytes = new Uint8Array(data.byteLength).map((_, i) => noise[i % noise.length]!)
      const changed = { dtype: type, shape: change === "shape" ? [...own, 1] : own, data: new (data.constructor as typeof Uint8Array)(bytes.buffer) as StoredModule[string]["data"] }
      const { [name]: _, ...rest } = tensors
      try {
        const { format, parts } = storeCodes(read(change === "gone" ? rest : { ...rest, [name]: changed }))
        const back = format.codes({ ...format.tables, ...parts }, shape)
        expect(back.kind === "sparse" ? back.values.data.length : back.codes.length).toBeGreaterThan(0)
        counts.read++
      } catch (e) {
        expect((e as Error).message).toMatch(/^[a-z-]+: 'm' /)
        counts.refused++
      }
    })
  expect(Math.min(counts.read, counts.refused)).toBeGreaterThan(60)
})
