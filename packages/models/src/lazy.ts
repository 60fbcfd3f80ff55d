import { fail, type DType, type Format, type Weight } from "@thimble/core"

/** A matrix that stays in its file until it is asked for. */
export interface LazyWeight extends Weight {
  /** Reads it to the current device. */
  load(): Promise<Weight>
}
export const isLazy = (weight: Weight): weight is LazyWeight => "load" in weight

/** What is known of a matrix in a file before it is read. */
export interface Unread {
  readonly shape: readonly [rows: number, columns: number]
  readonly storage: Format | DType
  /** What it will take in memory. */
  readonly bytes: number
}

/** Stands in a model for a matrix that was not read yet; computing with it is an error that says how to read it. */
export function lazyWeight(name: string, { shape, storage, bytes }: Unread, load: () => Promise<Weight>): LazyWeight {
  const unread = (op: string): never => fail("value", op, `'${name}' is still in its file`, "read it first: await model.loaded()")
  const weight: LazyWeight = {
    form: `unread ${name}`, shape, storage, bytes, load,
    apply: () => unread("apply"), rows: () => unread("rows"), dense: () => unread("dense"),
    parts: () => ({}), withParts: () => weight as never,
  }
  return weight
}
