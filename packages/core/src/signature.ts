import { fail } from "./errors.ts"
import { Structure } from "./structure.ts"
import { Tensor } from "./tensor.ts"
import { branchOf, type Composed } from "./tree.ts"

/** What the arguments of a compiled function are made of. */
export interface Signature {
  /** Each tensor once, in the order of the tree. A tensor at two places (tied weights) is one argument, inside as outside. */
  readonly tensors: readonly Tensor[]
  readonly numbers: readonly number[]
  /** What must be equal for a captured program to fit: the tree's names and forms, shapes and dtypes, which tensors are the same, all other leaves. */
  readonly structure: Structure
}

/** The word before a part of the tree. */
const is = { list: 0, record: 1, composed: 2, tensor: 3, again: 4, number: 5, bigint: 6, other: 7, end: -1 } as const

export function signatureOf(args: unknown): Signature {
  const structure = new Structure(), places = new Map<Tensor, number>(), numbers: number[] = []
  const visit = (x: unknown): void => {
    if (x instanceof Tensor) {
      const place = places.get(x)
      structure.add(place === undefined ? is.tensor : is.again)
      if (place !== undefined) return structure.add(place)
      places.set(x, places.size)
      return structure.addType(x)
    }
    if (Array.isArray(x)) {
      structure.add(is.list)
      structure.add(x.length)
      return x.forEach(visit)
    }
    const branch = branchOf(x)
    if (branch !== undefined) {
      structure.add(branch === x ? is.record : is.composed)
      if (branch !== x) structure.addText((x as Composed).form)
      for (const key of Object.keys(branch)) {
        structure.addText(key)
        visit(branch[key])
      }
      return structure.add(is.end)
    }
    if (typeof x === "number" || typeof x === "bigint") {
      if (typeof x === "bigint" && BigInt.asIntN(32, x) !== x) fail("value", "compile", `a bigint becomes an i32, and ${x} is out of its range`)
      numbers.push(Number(x))
      return structure.add(is[typeof x as "number" | "bigint"])
    }
    structure.add(is.other)
    structure.addText(`${typeof x} ${String(x)}`)
  }
  visit(args)
  return { tensors: [...places.keys()], numbers, structure }
}
