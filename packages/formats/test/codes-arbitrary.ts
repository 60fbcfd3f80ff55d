import { f16Bits, type Part } from "@thimble/core"
import fc from "fast-check"
import type { Bits, IntegerCodes } from "../src/index.ts"

export interface Sizes<B extends Bits> {
  readonly bits: readonly B[]
  /** Rows and columns are multiples of these. */
  readonly unit: readonly [rows: number, columns: number]
  readonly group?: readonly number[]
  readonly zeros?: boolean
  readonly mins?: boolean
  readonly ordered?: boolean
}

const bytes = (n: number, most: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: n, maxLength: n }).map((a) => a.map((v) => v % (most + 1)))
/** f16 numbers, subnormal and negative ones among them. */
const halves = (n: number): fc.Arbitrary<Uint16Array> => fc.array(fc.oneof(fc.double({ min: -4, max: 4, noNaN: true }), fc.constantFrom(0, 2 ** -24, 65504)), { minLength: n, maxLength: n }).map((a) => Uint16Array.from(a, f16Bits))

/** Integer codes, zero points at both ends of their range among them, in groups of any order. */
export function integerCodes<B extends Bits>({ bits, unit, group = [32], zeros = true, mins = false, ordered = false }: Sizes<B>): fc.Arbitrary<IntegerCodes<B>> {
  return fc.tuple(fc.constantFrom(...bits), fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 }), fc.constantFrom(...group), fc.boolean(), fc.boolean()).chain(([b, r, c, size, withZeros, mixed]) => {
    const shape = [r * unit[0], c * unit[1]] as const, groups = size === Infinity ? 1 : Math.ceil(shape[1] / size), n = shape[0] * groups, most = 2 ** b - 1
    const part = (data: Uint16Array): Part => ({ data, shape: [shape[0], groups], dtype: "f16" })
    return fc.record({
      codes: bytes(shape[0] * shape[1], most), scales: halves(n), mins: halves(n),
      zeros: fc.array(fc.constantFrom(0, 1, most, most >> 1), { minLength: n, maxLength: n }).map((a) => Uint8Array.from(a)),
      groupOf: fc.array(fc.nat(groups - 1), { minLength: shape[1], maxLength: shape[1] }).map((a) => Int32Array.from(a)),
    }).map((own): IntegerCodes<B> => ({
      kind: "integer", bits: b, shape, group: size, codes: own.codes, scales: part(own.scales),
      // Zero points that all are in the middle are none.
      ...(zeros && withZeros && own.zeros.some((z) => z !== 2 ** (b - 1)) && { zeros: own.zeros }),
      ...(mins && { mins: part(own.mins) }),
      ...(ordered && mixed && own.groupOf.some((g, i) => g !== (size === Infinity ? 0 : Math.floor(i / size))) && { groupOf: own.groupOf }),
    }))
  })
}
