// A11: what one bit more is worth.
import type { Quantizer } from "../quantizer.ts"
import { show } from "./bounds.ts"
import type { LawOptions } from "./check.ts"
import { breach, roundTrip } from "./law.ts"
import { plainer } from "./minimize.ts"
import { checkSubject, type Kit, type LawOf, type Subject, type SubjectReport } from "./subject.ts"
import { fill, ordinary } from "./values.ts"

/** A row, and a number of bits. */
export interface FamilyCase { readonly values: Float32Array; readonly bits: number }
export type FamilyLawName = "boundHalves"
/** Quantizers that differ in their number of bits. */
export interface Family extends Subject<FamilyLawName, FamilyCase> {
  readonly bits: readonly [least: number, most: number]
  of(bits: number): Quantizer<never>
}
export type FamilyLaw = LawOf<Family, FamilyCase, FamilyLawName>

export const boundHalves: FamilyLaw = {
  name: "boundHalves", letter: "A11", statement: "With one bit more the largest error bound is at most half of what it was. (The error itself need not fall: grids are not nested.)",
  broken(f, { values, bits }) {
    const shape = [1, values.length] as const, of = (b: number): number => {
      const q = f.of(b) as unknown as Quantizer, there = roundTrip(q, values, shape)
      return there ? q.errorBound(there.encoded, shape, values).reduce((m, v) => Math.max(m, v), 0) : 0
    }
    const [a, b] = [of(bits), of(bits + 1)]
    // What f32 makes of a product, and the smallest of its numbers, are the same with any number of bits.
    return b <= a / 2 + values.reduce((m, v) => Math.max(m, Math.abs(v)), 0) * 2 ** -22 + 2 ** -140 ? undefined : breach(0, shape, `${show(a)} with ${bits} bits, ${show(b)} with ${bits + 1}`)
  },
}
export const familyLaws: Readonly<Record<FamilyLawName, FamilyLaw>> = { boundHalves }
const kit: Kit<Family, FamilyCase, FamilyLawName> = {
  op: "checkFamily", laws: familyLaws,
  cases: (fc, { bits: [least, most] }) => fc.tuple(fc.constantFrom(...ordinary), fc.integer(), fc.integer({ min: 1, max: 40 }), fc.integer({ min: least, max: most - 1 })).map(([kind, seed, n, bits]) => ({ values: fill(kind, seed, [1, n]), bits })),
  smaller: [
    function* (c) { for (let cut = c.values.length; cut >= 1; cut = Math.floor(cut / 2)) for (let i = 0; i < c.values.length; i += cut) if (cut < c.values.length) yield { ...c, values: c.values.filter((_, j) => j < i || j >= i + cut) } },
    function* (c) { for (const p of plainer({ values: c.values, shape: [1, c.values.length], pick: 0 })) yield { ...c, values: p.values } },
  ],
  show: ({ values, bits }) => [`[${Array.from(values.subarray(0, 16), show).join(", ")}], ${bits} bits`],
}
/** Holds quantizers that differ in their bits to the laws they say they obey. */
export const checkFamily = (family: Family, options: LawOptions): Promise<SubjectReport<FamilyLawName>> => checkSubject(kit, family, options)
