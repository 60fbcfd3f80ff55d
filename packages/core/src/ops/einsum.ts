import { fail, showShape } from "../errors.ts"
import { sizeOf } from "../shape.ts"
import { checkTensor, type Tensor } from "../tensor.ts"
import { diagonal } from "./diagonal.ts"
import { mul } from "./elementwise.ts"
import { matmul } from "./matmul.ts"
import { permute, reshape, selectAt } from "./movement.ts"
import { sum } from "./reduce.ts"

/** A tensor whose axes have names. */
interface Labelled { readonly x: Tensor; readonly labels: readonly string[] }

const bad = (equation: string, problem: string, hint?: string): never => fail("value", "einsum", `${problem} in '${equation}'`, hint)

/** The labels of a term, with those of its ellipsis ("…2" is the third axis from the right that it covers). */
function labelsOf(equation: string, term: string, rank: number): string[] {
  const [before, after, ...more] = term.split("...")
  if (more.length > 0 || /[^a-zA-Z]/.test(`${before}${after ?? ""}`)) bad(equation, `cannot read '${term}'`, "labels are letters, with at most one ellipsis")
  const covered = after === undefined ? 0 : rank - before!.length - after.length
  const named = [...before!, ...Array.from({ length: Math.max(0, covered) }, (_, i) => `…${covered - 1 - i}`), ...(after ?? "")]
  return named.length === rank ? named : bad(equation, `'${term}' does not fit a tensor of rank ${rank}`)
}

function parse(equation: string, tensors: readonly Tensor[]): { operands: Labelled[]; output: string[] } {
  const [left, right, ...more] = equation.replaceAll(" ", "").split("->")
  const terms = left!.split(",")
  if (more.length > 0) bad(equation, "more than one arrow")
  if (terms.length !== tensors.length) bad(equation, `${tensors.length} tensors for ${terms.length} terms`)
  const operands = tensors.map((x, i) => ({ x, labels: labelsOf(equation, terms[i]!, x.rank) }))
  const all = operands.flatMap((o) => o.labels)
  const covered = [...new Set(all.filter((l) => l.startsWith("…")))].sort((a, b) => Number(b.slice(1)) - Number(a.slice(1)))
  if (right === undefined) return { operands, output: [...covered, ...all.filter((l) => !l.startsWith("…") && all.indexOf(l) === all.lastIndexOf(l)).sort()] }
  const output = labelsOf(equation, right, right.includes("...") ? right.length - 3 + covered.length : right.length)
  for (const l of output) {
    if (!all.includes(l)) bad(equation, `the result's '${l}' is no label of an operand`)
    if (output.indexOf(l) !== output.lastIndexOf(l)) bad(equation, `the result names '${l}' twice`)
  }
  return { operands, output }
}

/** Size of every label; sizes of 1 broadcast. */
function sizesOf(equation: string, operands: readonly Labelled[]): Map<string, number> {
  const sizes = new Map<string, number>()
  for (const { x, labels } of operands)
    labels.forEach((l, i) => {
      const n = x.shape[i]!, known = sizes.get(l) ?? 1
      if (n !== known && n !== 1 && known !== 1) bad(equation, `'${l}' is ${known} and ${n}, in ${showShape(x.shape)}`)
      sizes.set(l, known === 1 ? n : known)
    })
  return sizes
}

/** One axis per label: repeated ones become their diagonal, and axes that only broadcast are dropped. */
function distinct({ x, labels }: Labelled, sizes: ReadonlyMap<string, number>): Labelled {
  const wide = labels.findIndex((l, i) => x.shape[i] === 1 && sizes.get(l) !== 1)
  if (wide >= 0) return distinct({ x: selectAt(x, wide, 0), labels: labels.filter((_, i) => i !== wide) }, sizes)
  const second = labels.findIndex((l, i) => labels.indexOf(l) < i)
  if (second < 0) return { x, labels }
  const first = labels.indexOf(labels[second]!)
  return distinct({ x: diagonal(x, 0, first, second), labels: [...labels.filter((_, i) => i !== first && i !== second), labels[second]!] }, sizes)
}

/** Sums the labels that nobody else needs. */
function sumOut({ x, labels }: Labelled, needed: ReadonlySet<string>): Labelled {
  const axes = labels.flatMap((l, i) => (needed.has(l) ? [] : [i]))
  return axes.length === 0 ? { x, labels } : { x: sum(x, { axis: axes }), labels: labels.filter((l) => needed.has(l)) }
}

const arrange = ({ x, labels }: Labelled, order: readonly string[]): Tensor => permute(x, order.map((l) => labels.indexOf(l)))

/** Two operands become one: a batched matrix product [batch, left, shared] × [batch, shared, right], or a plain product if nothing is summed. */
function contract(a: Labelled, b: Labelled, needed: ReadonlySet<string>): Labelled {
  a = sumOut(a, new Set([...needed, ...b.labels]))
  b = sumOut(b, new Set([...needed, ...a.labels]))
  const batch = a.labels.filter((l) => b.labels.includes(l) && needed.has(l)), shared = a.labels.filter((l) => b.labels.includes(l) && !needed.has(l))
  const left = a.labels.filter((l) => !b.labels.includes(l)), right = b.labels.filter((l) => !a.labels.includes(l))
  const x = arrange(a, [...batch, ...left, ...shared]), y = arrange(b, [...batch, ...shared, ...right])
  const [batches, lefts, shareds] = [batch.length, left.length, shared.length]
  const lead = x.shape.slice(0, batches), rows = x.shape.slice(batches, batches + lefts), columns = y.shape.slice(batches + shareds)
  const labels = [...batch, ...left, ...right]
  if (shareds === 0) return { x: mul(reshape(x, [...lead, ...rows, ...columns.map(() => 1)]), reshape(y, [...lead, ...rows.map(() => 1), ...columns])), labels }
  const k = sizeOf(x.shape.slice(batches + lefts))
  const product = matmul(reshape(x, [sizeOf(lead), sizeOf(rows), k]), reshape(y, [sizeOf(lead), k, sizeOf(columns)]))
  return { x: reshape(product, [...lead, ...rows, ...columns]), labels }
}

/** The pair whose contraction is smallest; the first of several. */
function cheapest(operands: readonly Labelled[], sizes: ReadonlyMap<string, number>, output: readonly string[]): [number, number] {
  let best: [number, number] = [0, 1], least = Infinity
  operands.forEach((a, i) => operands.forEach((b, j) => {
    if (j <= i) return
    const needed = new Set([...output, ...operands.flatMap((o, k) => (k === i || k === j ? [] : o.labels))])
    const size = sizeOf([...new Set([...a.labels, ...b.labels])].filter((l) => needed.has(l)).map((l) => sizes.get(l)!))
    if (size < least) [best, least] = [[i, j], size]
  }))
  return best
}

/**
 * Sums of products in Einstein's notation, `einsum("bij,bjk->bik", a, b)`: labels missing after the arrow are summed;
 * without an arrow the result has the labels that occur once, in alphabetical order. A label that one term repeats takes
 * its diagonal; an ellipsis stands for any number of axes, which broadcast. Pairs are contracted by matrix products, the
 * pair with the smallest result first.
 */
export function einsum(equation: string, ...tensors: readonly Tensor[]): Tensor {
  if (typeof equation !== "string") fail("value", "einsum", `the equation must be a string, got ${typeof equation}`)
  for (const t of tensors) checkTensor("einsum", t)
  const { operands, output } = parse(equation, tensors)
  const sizes = sizesOf(equation, operands)
  let rest = operands.map((o) => distinct(o, sizes))
  while (rest.length > 1) {
    const [i, j] = cheapest(rest, sizes, output)
    const others = rest.filter((_, k) => k !== i && k !== j)
    rest = [contract(rest[i]!, rest[j]!, new Set([...output, ...others.flatMap((o) => o.labels)])), ...others]
  }
  return arrange(sumOut(rest[0]!, new Set(output)), output)
}
