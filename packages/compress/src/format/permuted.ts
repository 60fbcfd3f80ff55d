import { fail, tensor, type Tensor, type Weight } from "@thimble/core"
import type { PermutedWeight } from "@thimble/formats"

/**
 * A weight whose columns are stored in another order: `stored` has column order[i] of the matrix at place i. So groups may be
 * of columns that are no neighbours, in any format: what GPTQ files say with an index of groups.
 */
export function permutedWeight(stored: Weight, order: ArrayLike<number>): PermutedWeight {
  const [, columns] = stored.shape, place = new Int32Array(columns).fill(-1)
  for (let i = 0; i < order.length; i++) if (Number.isInteger(order[i]) && order[i]! >= 0) place[order[i]!] = i
  if (order.length !== columns || place.includes(-1)) fail("index", "permutedWeight", `${order.length} places do not hold each of ${columns} columns once`)
  const { device } = Object.values(stored.parts())[0]!
  return over(stored, { "columns.order": tensor(Int32Array.from(order), { device }), "columns.place": tensor(place, { device }) })
}

type Own = Readonly<Record<"columns.order" | "columns.place", Tensor>>

function over(stored: Weight, own: Own): PermutedWeight {
  const order = own["columns.order"], place = own["columns.place"]
  return {
    form: `permuted ${stored.form}`,
    permuted: { stored, order },
    shape: stored.shape,
    // Places follow from the order.
    bytes: stored.bytes + order.bytes,
    apply: (x) => stored.apply(x.take(order, -1)),
    rows: (ids) => stored.rows(ids).take(place, -1),
    dense: () => stored.dense().take(place, 1),
    parts: () => ({ ...stored.parts(), ...own }),
    withParts: (parts) => over(stored.withParts(Object.fromEntries(Object.entries(parts).filter(([name]) => !(name in own)))) as Weight, parts as unknown as Own) as never,
  }
}
