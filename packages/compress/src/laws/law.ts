import type { Device, EncodeOptions } from "@thimble/core"
import type { MatrixShape, QuantizedFormat, Quantizer } from "../quantizer.ts"
import type { LawName } from "./names.ts"
import type { Kind } from "./values.ts"

/** A matrix to try a law on, and one more choice that the law makes of it: which group, which factor, which order. */
export interface Case {
  readonly values: Float32Array
  readonly shape: MatrixShape
  readonly pick: number
}

/** How a case breaks a law. */
export interface Breach {
  readonly problem: string
  /** The element it shows at. */
  readonly at?: { readonly row: number; readonly column: number }
}

interface Named {
  readonly name: LawName
  /** Which of the laws in docs/laws.md it is. */
  readonly letter: string
  /** Cases cost much: only one of so many is tried. */
  readonly share?: number
  /** In a sentence, with x the values, x̂ what they decode to. */
  readonly statement: string
  /** Values it is about, if not all of them. */
  readonly kinds?: readonly Kind[]
}
/** A law that the host can check. */
export interface HostLaw extends Named {
  /** What of a case breaks it; nothing if it holds. */
  broken<E>(quantizer: Quantizer<E>, c: Case): Breach | undefined | Promise<Breach | undefined>
}
/** A law about what devices compute. */
export interface DeviceLaw extends Named {
  brokenOn(format: QuantizedFormat, c: Case, device: Device): Promise<Breach | undefined>
}
export type Law = HostLaw | DeviceLaw

/** Values this large may be refused; smaller ones may not. */
export const certain = 1e4

/** A matrix there and back; nothing if it is refused, as values beyond what a scale holds may be. */
export function roundTrip<E>(q: Quantizer<E>, values: Float32Array, shape: MatrixShape, options?: EncodeOptions): { readonly encoded: E; readonly back: Float32Array } | undefined {
  try {
    const encoded = q.encode(values, shape, options)
    return { encoded, back: q.decode(encoded, shape) }
  } catch (error) {
    if (values.some((v) => !(Math.abs(v) <= certain))) return undefined
    throw error
  }
}

/** First element at which two matrices differ; zeros of both signs are equal, and so are two that are no numbers. */
export function differing(a: ArrayLike<number>, b: ArrayLike<number>, [, columns]: MatrixShape, among?: (at: number) => boolean): { readonly row: number; readonly column: number; readonly i: number } | undefined {
  for (let i = 0; i < a.length; i++)
    if (a[i] !== b[i] && !(Number.isNaN(a[i]) && Number.isNaN(b[i])) && (among === undefined || among(i))) return { row: Math.floor(i / columns), column: i % columns, i }
  return undefined
}

/** A breach at a flat position. */
export const breach = (i: number, [, columns]: MatrixShape, problem: string): Breach => ({ problem, at: { row: Math.floor(i / columns), column: i % columns } })

/** Typed arrays anywhere in what a quantizer stores. */
export function arraysOf(encoded: unknown): readonly (ArrayBufferView & ArrayLike<number>)[] {
  if (ArrayBuffer.isView(encoded)) return [encoded as unknown as ArrayBufferView & ArrayLike<number>]
  return encoded !== null && typeof encoded === "object" ? Object.values(encoded).flatMap(arraysOf) : []
}

/** Bounds of the groups of a row. */
export function groupsOf<E>({ group }: Pick<Quantizer<E>, "group">, columns: number): readonly (readonly [from: number, to: number])[] {
  const size = Math.min(group, Math.max(1, columns))
  return Array.from({ length: Math.ceil(columns / size) }, (_, g) => [g * size, Math.min(columns, (g + 1) * size)] as const)
}
