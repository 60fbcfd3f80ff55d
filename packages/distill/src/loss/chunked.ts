import { add, after, cat, castTo, customVjp, div, fail, full, grad, isFloat, maximum, mul, narrow, ones, reshape, showShape, sum as total, tanh, type Tensor } from "@thimble/core"
import { countsOf, part, weightedSum, type Head, type Loss, type Seen, type View } from "./loss.ts"

export interface ChunkedOptions {
  /** Positions at a time. As many as keep one block of logits at 64 MiB unless given. */
  readonly positions?: number
}

/** Bytes of one chunk's logits: a quarter of it saves another tenth of the memory of a 32k vocabulary, and takes half as long again. */
const budget = 64 * 2 ** 20

/** Logits [rows, classes] of what a head reads. */
export function headLogits({ weight, bias, cap }: Head, x: Tensor): Tensor {
  const y = weight.apply(x), all = bias === undefined ? y : add(y, castTo(bias, y.dtype))
  return cap === undefined ? all : mul(tanh(mul(all, 1 / cap)), cap)
}

/** Tensors that a chunk takes rows of (`cut`), or needs whole, and which of them have gradients. */
interface Inputs {
  readonly sources: Tensor[]
  readonly cut: boolean[]
  readonly learned: boolean[]
}
/** Adds a tensor and returns how to find it again among a chunk's. */
function source(inputs: Inputs, t: Tensor, cut: boolean, learned = false): (chunk: readonly Tensor[]) => Tensor {
  const i = inputs.sources.push(t) - 1
  inputs.cut.push(cut)
  inputs.learned.push(learned && isFloat(t.dtype))
  return (chunk) => chunk[i]!
}

/**
 * A loss of logits and labels, position by position, over a large vocabulary: logits are made of the stream that the head reads, a
 * few positions at a time, and are never there as a whole, neither of the student nor of the teacher, neither forward nor
 * backward, where they are computed again (Liger: Hsu et al., 2024, arXiv:2410.10989, §3.2; gradients by checkpoints, Chen et al., 2016).
 * A teacher that has only logits, or the most probable classes, is read in pieces.
 */
export function chunked(loss: Loss, options: ChunkedOptions = {}): Loss {
  const { needs } = loss
  if (options.positions !== undefined && !(Number.isInteger(options.positions) && options.positions >= 1)) fail("value", "chunked", `positions must be a whole number ≥ 1, got ${options.positions}`)
  const others = needs.student.filter((q) => q !== "logits"), unfit = [...others, ...needs.teacher.filter((q) => q !== "logits" && q !== "top")]
  if (unfit.length > 0) fail("value", "chunked", `${loss.name} needs ${unfit.join(", ")}`, "only losses of logits and labels go position by position; add the others outside: sum([1, chunked(…)], [1, hidden()])")
  return {
    ...(loss.check && { check: loss.check }),
    name: `chunked ${loss.name}`,
    needs: { ...needs, student: ["final", "head"], teacher: needs.teacher.flatMap((q) => (q === "logits" ? ["final" as const, "head" as const] : [q])) },
    compute: (view) => computeChunked(loss, view, options),
  }
}

function computeChunked(loss: Loss, view: View, options: ChunkedOptions): Tensor {
  const inputs: Inputs = { sources: [], cut: [], learned: [] }
  const final = part("chunked", "student", "final stream", view.student.final), rows = final.size / final.shape.at(-1)!
  const flat = (t: Tensor): Tensor => {
    if (t.size % rows !== 0) fail("shape", "chunked", `${showShape(t.shape)} does not belong to ${rows} positions`)
    return reshape(t, t.size === rows ? [rows] : [rows, t.size / rows])
  }
  const logitsOf = (seen: Seen, whose: "student" | "teacher"): ((chunk: readonly Tensor[]) => Tensor) => {
    const learned = whose === "student", head = part("chunked", whose, "head", seen.head)
    const x = source(inputs, reshape(seen.final!, [rows, seen.final!.shape.at(-1)!]), true, learned)
    const parts = Object.entries(head.weight.parts()).map(([name, t]) => [name, source(inputs, t, false, learned)] as const)
    const bias = head.bias && source(inputs, head.bias, false, learned)
    return (chunk) => headLogits({
      weight: head.weight.withParts(Object.fromEntries(parts.map(([name, find]) => [name, find(chunk)]))),
      ...(bias && { bias: bias(chunk) }), ...(head.cap !== undefined && { cap: head.cap }),
    }, x(chunk))
  }
  const student = logitsOf(view.student, "student")
  const { teacher } = view
  const teacherParts: Partial<Record<keyof Seen | "indices" | "logProbabilities", (chunk: readonly Tensor[]) => Tensor>> = {}
  if (loss.needs.teacher.includes("logits") || (loss.needs.teacher.includes("top") && teacher?.top === undefined)) teacherParts.logits = teacher?.logits !== undefined ? source(inputs, flat(teacher.logits), true) : logitsOf({ final: part("chunked", "teacher", "final stream", teacher?.final), ...(teacher?.head && { head: teacher.head }) }, "teacher")
  if (teacher?.top !== undefined) {
    teacherParts.indices = source(inputs, flat(teacher.top.indices), true)
    teacherParts.logProbabilities = source(inputs, flat(teacher.top.logProbabilities), true)
  }
  const labels = view.labels && source(inputs, flat(view.labels), true)
  const mask = view.mask && source(inputs, flat(view.mask), true)
  // Losses of labels may count other positions than those of distributions do.
  const leaves = leavesOf(loss).map(([factor, leaf]) => {
    const counts = countsOf(leaf, view)
    return { factor, leaf, whole: source(inputs, counts === undefined ? full([], rows) : maximum(total(counts), 1e-6), false) }
  })

  const { weight } = part("chunked", "student", "head", view.student.head)
  const size = options.positions ?? Math.max(1, Math.floor(budget / (4 * weight.shape[0])))
  const spans = Array.from({ length: Math.ceil(rows / size) }, (_, i): [number, number] => [i * size, Math.min(size, rows - i * size)])
  const chunkOf = (src: readonly Tensor[], [start, length]: [number, number]): Tensor[] => src.map((t, i) => (inputs.cut[i] ? narrow(t, 0, start, length) : t))
  /** What one chunk's positions add to the loss. */
  const lossOf = (chunk: readonly Tensor[], length: number): Tensor => {
    const seen: Seen = {
      ...(teacherParts.logits && { logits: teacherParts.logits(chunk) }),
      ...(teacherParts.indices && { top: { indices: teacherParts.indices(chunk), logProbabilities: teacherParts.logProbabilities!(chunk) } }),
    }
    const here: View = { student: { logits: student(chunk) }, teacher: seen, ...(labels && { labels: labels(chunk) }), ...(mask && { mask: mask(chunk) }) }
    return weightedSum(leaves.map(({ factor, leaf, whole }) => {
      const mean = leaf.compute(here), counts = countsOf(leaf, here), own = counts === undefined ? full([], length) : total(counts)
      return [factor, mul(mean, div(castTo(own, mean.dtype), castTo(whole(chunk), mean.dtype)))]
    }))
  }
  const sumOfChunks = customVjp(
    (...src) => spans.map((span) => lossOf(chunkOf(src, span), span[1])).reduce((a, b) => add(a, b)),
    (dy, _out, ...src) => gradients(dy, src, spans, inputs, chunkOf, lossOf),
  )
  return sumOfChunks(...inputs.sources)
}

/** The losses that a sum is made of, with their factors. */
const leavesOf = (loss: Loss): (readonly [number, Loss])[] =>
  loss.terms === undefined ? [[1, loss]] : loss.terms.flatMap(([factor, term]) => leavesOf(term).map(([f, leaf]) => [factor * f, leaf] as const))

/** Gradients of a sum of chunks' losses, one chunk after the other, so that only one chunk's logits are there at a time. */
function gradients(
  dy: Tensor, src: readonly Tensor[], spans: readonly [number, number][], { cut, learned }: Inputs,
  chunkOf: (src: readonly Tensor[], span: [number, number]) => Tensor[], lossOf: (chunk: readonly Tensor[], length: number) => Tensor,
): (Tensor | null)[] {
  const wanted = src.flatMap((_, i) => (learned[i] ? [i] : []))
  const pieces = new Map(wanted.map((i) => [i, [] as Tensor[]])), sums = new Map<number, Tensor>()
  let before: Tensor = dy
  for (const span of spans) {
    // Its rows are there once the chunk before is done with; a matrix would be copied for that.
    const chunk = chunkOf(src, span).map((t, i) => (cut[i] && isFloat(t.dtype) ? after(t, before) : t))
    const value = lossOf(chunk, span[1])
    const found = grad(value, wanted.map((i) => chunk[i]!), mul(ones([], value.dtype), castTo(dy, value.dtype)))
    let done: Tensor | undefined
    wanted.forEach((i, n) => {
      const g = done === undefined ? found[n]! : after(found[n]!, done)
      if (cut[i]) pieces.get(i)!.push(g)
      else sums.set(i, sums.has(i) ? add(sums.get(i)!, g) : g)
      done = cut[i] ? g : sums.get(i)!
    })
    before = done!
  }
  return src.map((_, i) => (pieces.get(i)?.length ? cat(pieces.get(i)!, 0) : (sums.get(i) ?? null)))
}
