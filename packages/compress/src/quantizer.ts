import { fail, showShape, type EncodeOptions, type Format, type Part } from "@thimble/core"
import { hostReader, type Element, type HostReader } from "./host.ts"
import type { LawName } from "./laws/names.ts"
import type { Grids } from "./quantize/grid.ts"

/** Rows and columns of a matrix of weights, row-major. */
export type MatrixShape = readonly [rows: number, columns: number]
/** What a matrix is stored in, by name. */
export type Parts = Record<string, Part>

/** Values that break a law: one matrix, of one row unless its columns are given. */
export interface Counterexample {
  /** As many leading values as matter; the rest of the matrix is zero. */
  readonly values: readonly number[]
  readonly columns?: number
  /** The choice that the law makes besides the values: a group, a factor, an order. */
  readonly pick?: number
}

/**
 * Rounds matrices to what fits in few bits and back, and says what it promises about it. E is whatever it stores. It
 * works on plain arrays, without a device.
 */
export interface Quantizer<E = Parts> {
  readonly name: string
  /** Neighbours along a row that share their parameters; Infinity for whole rows. */
  readonly group: number
  /** Neighbours along a row whose stored bytes depend on one another: a group, unless given. */
  readonly span?: number
  /** Rows are whole multiples of so many columns; 1 unless given. */
  readonly unit?: number
  /** Largest magnitudes of a group for which its stored parameters keep all of their bits, in both directions. */
  readonly range?: readonly [least: number, most: number]
  encode(values: Float32Array, shape: MatrixShape, options?: EncodeOptions): E
  /** The matrix that is stored. */
  decode(encoded: E, shape: MatrixShape): Float32Array
  /**
   * Bound of |x − x̂| for each element, of whatever was encoded, from what is stored. Formats that search for their
   * parameters may leave values outside of what their codes reach: they need the values, too, and say how far.
   */
  errorBound(encoded: E, shape: MatrixShape, values?: Float32Array): Float64Array
  /** Bytes that a matrix takes. */
  storageBytes(shape: MatrixShape): number
  /** Everything that an element could decode to, with the parameters of its group as they are stored. */
  levels?(encoded: E, shape: MatrixShape, row: number, column: number): readonly number[]
  /** The laws it obeys. */
  readonly laws: readonly LawName[]
  /** Laws it does not obey, each with what breaks it. */
  readonly counterexamples?: Readonly<Partial<Record<LawName, Counterexample>>>
  /** The same with other random choices, if it makes any. */
  again?(seed: number): Quantizer<E>
  /** The same without its search for parameters, if it has one that promises to be no worse. */
  readonly plain?: Quantizer<E>
}

/** How a format rounds one value of a group, and stores what was rounded. */
export interface FormatGrids extends Grids {
  /** The parts of codes [rows, columns] and of grids [rows, groups]. */
  pack(codes: Uint8Array, scales: Float64Array, zeros: Uint8Array, shape: MatrixShape): Parts
}

/** A format that a solver may round to, where it says how: its scale is that of a group, in which values are rounded one by one. */
export interface SolvableFormat extends Format { readonly grids?: FormatGrids }

/** A storage format with its promises: devices run it, and the laws hold it to them. */
export interface QuantizedFormat extends SolvableFormat, Omit<Quantizer, "encode"> {}

/** An element's place among what is stored. */
export interface StoredAt { readonly parts: Readonly<Parts>; readonly row: number; readonly column: number; readonly columns: number; readonly values?: Float32Array }

/** What a format adds to its encoder and its expressions. */
export interface Promises extends Pick<Quantizer, "span" | "unit" | "range" | "laws" | "counterexamples"> {
  /** Bound of |x − x̂| from the pieces of an element; `x` if the values are given. */
  bound(element: Element, x: number | undefined, place: StoredAt): number
  /** Bytes of a matrix. */
  storageBytes(shape: MatrixShape): number
  /** Codes that the encoder writes, if they are fewer than its expression can give. */
  readonly codes?: readonly number[]
  /** What an element could decode to, where that is no code of all elements'. */
  levels?(place: StoredAt): readonly number[]
}

/** What every format obeys that is made here: it is stored in named parts, and training takes its rounding as it is. */
const always: readonly LawName[] = ["rate", "saves", "casts", "fake", "straightThrough", "converts", "frozen"]

/** A format that keeps promises. */
export function quantizer<F extends Format>(format: F, { bound, codes, levels, ...promises }: Promises): F & QuantizedFormat {
  // Levels are asked for element after element of one matrix.
  let recent: { readonly parts: Readonly<Parts>; readonly read: HostReader } | undefined
  return {
    ...format,
    ...promises,
    // Where neither groups nor rows depend on one another, nor do parts of the matrix.
    laws: [...promises.laws, ...always, ...(promises.laws.includes("groups") && promises.laws.includes("rows") ? ["chunks"] as const : [])],
    decode(parts, shape) {
      const read = hostReader(format, parts, shape), out = new Float32Array(shape[0] * shape[1])
      for (let r = 0, i = 0; r < shape[0]; r++) for (let c = 0; c < shape[1]; c++, i++) out[i] = read.value(r, c)
      return out
    },
    errorBound(parts, shape, values) {
      if (values !== undefined && values.length !== shape[0] * shape[1]) fail("shape", "errorBound", `${values.length} values for ${showShape(shape)}`)
      const read = hostReader(format, parts, shape), out = new Float64Array(shape[0] * shape[1])
      for (let r = 0, i = 0; r < shape[0]; r++) for (let c = 0; c < shape[1]; c++, i++) out[i] = bound(read.element(r, c), values?.[i], { parts, row: r, column: c, columns: shape[1], ...(values && { values }) })
      return out
    },
    levels(parts, shape, row, column) {
      if (levels) return levels({ parts, row, column, columns: shape[1] })
      if (recent?.parts !== parts) recent = { parts, read: hostReader(format, parts, shape) }
      const { read } = recent, { zero, scale, min } = read.element(row, column)
      const f = Math.fround
      return (codes ?? read.codes).map((code) => f(f(f(code - zero) * scale) + min))
    },
  }
}

/** Refuses to bound the error of an encoder that may leave values out of reach, when it is not told the values. */
export const needsValues = (name: string): never => fail("value", "errorBound", `${name} may leave values beyond its codes`, "pass the values that were encoded")
