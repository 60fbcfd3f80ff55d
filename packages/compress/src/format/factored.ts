import { fail, matmul, showShape, type Weight } from "@thimble/core"

/**
 * A matrix as the product of two, L·R with L [rows, rank] and R [rank, columns], each a weight stored in a way of its own. The
 * product is never made: x·Wᵀ is (x·Rᵀ)·Lᵀ.
 */
export function factoredWeight(left: Weight, right: Weight): Weight {
  if (left.shape[1] !== right.shape[0]) fail("shape", "factoredWeight", `factors ${showShape(left.shape)} and ${showShape(right.shape)} do not meet`)
  return {
    form: `factored (${left.form}) (${right.form})`,
    shape: [left.shape[0], right.shape[1]],
    bytes: left.bytes + right.bytes,
    apply: (x) => left.apply(right.apply(x)),
    rows: (ids) => matmul(left.rows(ids), right.dense()),
    dense: () => matmul(left.dense(), right.dense()),
    parts: () => ({ ...under("left", left.parts()), ...under("right", right.parts()) }),
    withParts: (parts) => factoredWeight(left.withParts(partsOf("left", parts)), right.withParts(partsOf("right", parts))) as never,
  }
}

/** Parts of a factor beside those of the other. */
export const under = <T>(factor: "left" | "right", parts: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(parts).map(([name, part]) => [`${factor}.${name}`, part]))
/** {@link under}, undone. */
export const partsOf = <T>(factor: "left" | "right", parts: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(parts).filter(([name]) => name.startsWith(`${factor}.`)).map(([name, part]) => [name.slice(factor.length + 1), part]))
