// E1, E2 and E4: codes in bytes and words, and modules of checkpoints.
import { decode, type Part } from "@thimble/core"
import type { IntegerCodes, StoredModule } from "@thimble/formats"
import type { LawOptions } from "./check.ts"
import { arraysOf, breach } from "./law.ts"
import { checkSubject, type Kit, type LawOf, type Subject, type SubjectReport } from "./subject.ts"
import { numbers, shuffled } from "./values.ts"

/** Codes [rows, columns] of so many bits. */
export interface PackingCase { readonly codes: Uint8Array; readonly rows: number; readonly columns: number }
export type PackingLawName = "unpacksAll" | "paddingZero" | "packedBytes"
/** How codes lie in bytes. P is whatever holds them. */
export interface Packer<P = unknown> extends Subject<PackingLawName, PackingCase> {
  readonly bits: number
  pack(codes: Uint8Array, rows: number, columns: number): P
  unpack(packed: P, rows: number, columns: number): ArrayLike<number>
  /** Bytes that they take. */
  bytes(rows: number, columns: number): number
}
export type PackingLaw = LawOf<Packer, PackingCase, PackingLawName>

export const unpacksAll: PackingLaw = {
  name: "unpacksAll", letter: "E1", statement: "Unpacking gives the codes that were packed: of any number, also where a code lies in two words.",
  broken(p, { codes, rows, columns }) {
    const back = p.unpack(p.pack(codes, rows, columns), rows, columns), wrong = codes.findIndex((q, i) => q !== back[i])
    return back.length !== codes.length ? { problem: `${codes.length} codes are ${back.length} afterwards` } : wrong < 0 ? undefined : breach(wrong, [rows, columns], `${codes[wrong]} comes back as ${back[wrong]} (code ${wrong})`)
  },
}
const ones = (bytes: Uint8Array): number => bytes.reduce((n, b) => n + [...b.toString(2)].filter((d) => d === "1").length, 0)
const bytesOf = (packed: unknown): Uint8Array[] => arraysOf(packed).map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength))
export const paddingZero: PackingLaw = {
  name: "paddingZero", letter: "E2", statement: "What is stored has as many ones as the codes have: padding is zero, and no two matrices of codes are stored alike.",
  broken(p, { codes, rows, columns }) {
    const stored = bytesOf(p.pack(codes, rows, columns)).reduce((n, b) => n + ones(b), 0), wanted = ones(codes)
    return stored === wanted ? undefined : { problem: `${wanted} bits are set in the codes, and ${stored} in what is stored` }
  },
}
export const packedBytes: PackingLaw = {
  name: "packedBytes", letter: "E2", statement: "Codes take as many bytes as it says, and no fewer than n·bits / 8.",
  broken(p, { codes, rows, columns }) {
    const bytes = bytesOf(p.pack(codes, rows, columns)).reduce((n, b) => n + b.length, 0), said = p.bytes(rows, columns)
    return bytes === said && said * 8 >= codes.length * p.bits ? undefined : { problem: `${rows} by ${columns} codes take ${bytes} bytes, and it says ${said}` }
  },
}
export const packingLaws: Readonly<Record<PackingLawName, PackingLaw>> = { unpacksAll, paddingZero, packedBytes }
const packingKit: Kit<Packer, PackingCase, PackingLawName> = {
  op: "checkPacking", laws: packingLaws,
  cases: (fc, { bits }) => fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 100 }), fc.integer()).map(([rows, columns, seed]) => {
    const next = numbers(seed)
    return { rows, columns, codes: Uint8Array.from({ length: rows * columns }, () => next() * 2 ** bits) }
  }),
  smaller: [
    function* (c) {
      for (let r = 0; r < c.rows && c.rows > 1; r++) yield { ...c, rows: 1, codes: c.codes.slice(r * c.columns, (r + 1) * c.columns) }
      if (c.rows === 1) for (let cut = c.columns; cut >= 1; cut = Math.floor(cut / 2)) for (let from = 0; from < c.columns; from += cut) {
        const codes = c.codes.filter((_, i) => i < from || i >= from + cut)
        yield { rows: 1, columns: codes.length, codes }
      }
    },
    function* (c) { for (let i = 0; i < c.codes.length; i++) for (const q of [0, 1]) if (q < c.codes[i]!) yield { ...c, codes: c.codes.map((v, j) => (j === i ? q : v)) } },
  ],
  show: ({ codes, rows, columns }) => [`codes ${rows} × ${columns}: [${Array.from(codes.subarray(0, 32)).join(", ")}${codes.length > 32 ? ", …" : ""}]`],
}
/** Holds a packing of codes to the laws it says it obeys. */
export const checkPacking = <P>(packer: Packer<P>, options: LawOptions): Promise<SubjectReport<PackingLawName>> => checkSubject(packingKit, packer as Packer, options)

/** The codes of one matrix. */
export interface DialectCase { readonly codes: IntegerCodes }
export type DialectLawName = "codesReturn" | "zeroPointsReturn" | "valuesReturn" | "groupsReturn"
/** How a checkpoint stores the integers of a module, and how it is read. */
export interface DialectRows extends Subject<DialectLawName, DialectCase> {
  readonly bits: readonly IntegerCodes["bits"][]
  /** Neighbours that share a scale. */
  readonly group: number
  /** Whether groups may be in any order of columns. */
  readonly ordered?: boolean
  write(codes: IntegerCodes): StoredModule
  read(stored: StoredModule, like: IntegerCodes): IntegerCodes
}
export type DialectLaw = LawOf<DialectRows, DialectCase, DialectLawName>
const again = (d: DialectRows, { codes }: DialectCase): IntegerCodes => d.read(d.write(codes), codes)
const middle = ({ bits }: IntegerCodes): number => 2 ** (bits - 1)
const groupAt = ({ groupOf, group }: IntegerCodes, column: number): number => groupOf?.[column] ?? (group === Infinity ? 0 : Math.floor(column / group))
const number = ({ dtype, data }: Part, i: number): number => decode(dtype, data[i]!)
/** What codes stand for. */
function valuesOf(c: IntegerCodes): Float32Array {
  const [, columns] = c.shape, per = c.scales.shape[1]!
  return Float32Array.from(c.codes, (q, i) => {
    const g = Math.floor(i / columns) * per + groupAt(c, i % columns), s = number(c.scales, g)
    return c.mins ? Math.fround(Math.fround(q * s) + number(c.mins, g)) : Math.fround((q - (c.zeros?.[g] ?? middle(c))) * s)
  })
}
export const codesReturn: DialectLaw = {
  name: "codesReturn", letter: "E4", statement: "Codes that are written are read again.",
  broken(d, c) {
    const back = again(d, c).codes, wrong = c.codes.codes.findIndex((q, i) => q !== back[i])
    return wrong < 0 && back.length === c.codes.codes.length ? undefined : breach(wrong, c.codes.shape, `code ${c.codes.codes[wrong]} is read as ${back[wrong]}`)
  },
}
export const zeroPointsReturn: DialectLaw = {
  name: "zeroPointsReturn", letter: "E4", statement: "Zero points are read as they were written, the least and the largest code among them.",
  broken(d, c) {
    const back = again(d, c), wanted = c.codes.zeros ?? new Uint8Array(c.codes.scales.data.length).fill(middle(c.codes)), wrong = wanted.findIndex((z, i) => z !== (back.zeros?.[i] ?? middle(back)))
    return wrong < 0 ? undefined : { problem: `zero point ${wanted[wrong]} is read as ${back.zeros?.[wrong] ?? middle(back)}` }
  },
}
export const valuesReturn: DialectLaw = {
  name: "valuesReturn", letter: "E4", statement: "What codes stand for is the same, bit for bit, after writing and reading.",
  broken(d, c) {
    const [a, b] = [valuesOf(c.codes), valuesOf(again(d, c))], wrong = a.findIndex((v, i) => v !== b[i])
    return wrong < 0 ? undefined : breach(wrong, c.codes.shape, `${a[wrong]} is read as ${b[wrong]}`)
  },
}
export const groupsReturn: DialectLaw = {
  name: "groupsReturn", letter: "E4", statement: "Each column is read in the group that it was written in, whatever their order.",
  broken(d, c) {
    const back = again(d, c), [, columns] = c.codes.shape, wrong = Array.from({ length: columns }, (_, j) => j).find((j) => groupAt(c.codes, j) !== groupAt(back, j))
    return wrong === undefined ? undefined : { problem: `column ${wrong} is of group ${groupAt(c.codes, wrong)}, and is read in group ${groupAt(back, wrong)}` }
  },
}
export const dialectLaws: Readonly<Record<DialectLawName, DialectLaw>> = { codesReturn, zeroPointsReturn, valuesReturn, groupsReturn }

const half = (v: number): number => {
  // Of f16: sign and exponent of small whole powers, ten random bits.
  return (15 + Math.floor(v * 4)) << 10 | (Math.floor(v * 2 ** 20) & 1023)
}
const dialectKit: Kit<DialectRows, DialectCase, DialectLawName> = {
  op: "checkDialect", laws: dialectLaws,
  cases: (fc, { bits, group, ordered }) => fc.tuple(fc.constantFrom(...bits), fc.integer(), fc.constantFrom(32, 64), fc.integer({ min: 1, max: 3 }), fc.boolean(), fc.boolean()).map(([b, seed, rows, groups, withZeros, mixed]) => {
    const next = numbers(seed), columns = groups * group, top = 2 ** b, shape = [rows, columns] as const
    const order = ordered && mixed ? Int32Array.from(shuffled(columns, seed), (i) => Math.floor(i / group)) : undefined
    return {
      codes: {
        kind: "integer", bits: b, shape, group,
        codes: Uint8Array.from({ length: rows * columns }, () => next() * top),
        scales: { data: Uint16Array.from({ length: rows * groups }, () => half(next())), shape: [rows, groups], dtype: "f16" },
        // Ends of the codes are as likely as all that lies between.
        ...(withZeros && { zeros: Uint8Array.from({ length: rows * groups }, () => [0, top - 1, next() * top][Math.floor(next() * 3)]!) }),
        ...(order && { groupOf: order }),
      } as IntegerCodes,
    }
  }),
  smaller: [function* ({ codes }) {
    for (const [name, plain] of [["codes", 0], ["zeros", middle(codes)]] as const) {
      const own = codes[name]
      if (own === undefined) continue
      for (let cut = own.length; cut >= 1; cut = Math.floor(cut / 2))
        for (let from = 0; from < own.length; from += cut) if (own.subarray(from, from + cut).some((v) => v !== plain)) yield { codes: { ...codes, [name]: own.map((v, i) => (i >= from && i < from + cut ? plain : v)) } }
    }
  }],
  show: ({ codes: { bits, shape, group, codes, zeros, groupOf } }) => [
    `${bits} bits, ${shape.join(" × ")}, groups of ${group}${groupOf ? `, columns in groups ${groupOf.slice(0, 16).join(" ")} …` : ""}`,
    `codes that are not 0: ${[...codes.entries()].filter(([, q]) => q !== 0).slice(0, 8).map(([i, q]) => `${i}: ${q}`).join(", ") || "none"}`,
    `zero points: ${zeros ? [...zeros.entries()].filter(([, z]) => z !== 2 ** (bits - 1)).slice(0, 8).map(([i, z]) => `${i}: ${z}`).join(", ") || "all in the middle" : "none"}`,
  ],
}
/** Holds the rows of a dialect of checkpoints to the laws it says it obeys. */
export const checkDialect = (dialect: DialectRows, options: LawOptions): Promise<SubjectReport<DialectLawName>> => checkSubject(dialectKit, dialect, options)
