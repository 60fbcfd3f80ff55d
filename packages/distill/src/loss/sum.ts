import { fail, random, type Tensor } from "@thimble/core"
import { joinedNeeds, weightedSum, type Loss, type View } from "./loss.ts"

/** The weighted sum of losses: `sum([0.9, softTargets()], [0.1, labels()])`. */
export function sum(...terms: readonly (readonly [weight: number, loss: Loss])[]): Loss {
  if (terms.length === 0) fail("value", "sum", "needs at least one [weight, loss]")
  terms.forEach(([w, loss], i) => {
    if (!Number.isFinite(w)) fail("value", "sum", `the weight of term ${i} must be finite, got ${String(w)}`)
    if (typeof loss?.compute !== "function") fail("value", "sum", `term ${i} is no loss`, "sum([weight, loss], …)")
  })
  const losses = terms.map(([, loss]) => loss)
  return {
    name: `sum(${terms.map(([w, { name }]) => `${w}·${name}`).join(" + ")})`,
    needs: joinedNeeds(losses),
    terms,
    compute: (view) => measure({ terms } as Loss, view).loss,
    check: (student, teacher) => losses.forEach((loss) => loss.check?.(student, teacher)),
    parameters: (student, teacher, key) => Object.fromEntries(losses.flatMap((loss, i) =>
      Object.entries(loss.parameters?.(student, teacher, random.foldIn(key, i)) ?? {}).map(([name, t]) => [`${i}.${name}`, t] as const))),
  }
}

/** A loss, and of a sum what each term was, before its weight, by name. */
export interface Measure {
  readonly loss: Tensor
  readonly parts: Readonly<Record<string, Tensor>>
}

/** Computes a loss and its terms. */
export function measure(loss: Loss, view: View): Measure {
  if (loss.terms === undefined) {
    const value = loss.compute(view)
    return { loss: value, parts: { [loss.name]: value } }
  }
  const values = loss.terms.map(([weight, term], i) => {
    const mine = Object.entries(view.parameters ?? {}).filter(([name]) => name.startsWith(`${i}.`)).map(([name, t]) => [name.slice(`${i}.`.length), t] as const)
    return [weight, term.compute({ ...view, parameters: Object.fromEntries(mine) })] as const
  })
  const parts: Record<string, Tensor> = {}
  loss.terms.forEach(([, { name }], i) => (parts[name in parts ? `${name} (${i})` : name] = values[i]![1]))
  return { loss: weightedSum(values), parts }
}
