import {
  accumulate, castTo, clipGradNorm, compile, div, globalNorm, isFinite, isFloat, leavesOf, loadState, logicalAnd, mapTree, mul, reshape, stack, sub, sum as total, add, tensorsOf, valueAndGrad, where, zeros, zerosLike, full,
  type Optimizer, type Tensor,
} from "@thimble/core"
import type { Batch } from "../data/data.ts"
import { counted, type Loss, type Seen, type View } from "../loss/loss.ts"
import { measure } from "../loss/sum.ts"
import type { Ask, Network } from "../network.ts"

type Named = Readonly<Record<string, Tensor>>
/** All that changes from step to step. */
export interface State {
  readonly learned: { readonly model: Named; readonly loss: Named }
  readonly optimizer: unknown
  /** The average of the model that follows it, where it is its own teacher. */
  readonly average: Named
}
/** What else a step reads. */
export interface Given {
  readonly frozen: Named
  /** Parameters of a teacher inside the program. */
  readonly teacher: unknown
}

export interface ProgramOptions {
  readonly student: Network
  /** A teacher inside the program; its parameters come with {@link Given}. */
  readonly teacher: Network | undefined
  readonly decay: number | undefined
  readonly loss: Loss
  readonly optimizer: Optimizer<unknown>
  readonly clip: number | undefined
  readonly rated: boolean
  readonly scaled: boolean
}

/** Loss, norm of the gradients, then the terms of the loss, in the order of `names`. */
export interface Numbers { readonly loss: number; readonly norm: number; readonly parts: Readonly<Record<string, number>> }

export interface Programs {
  /** One step on one batch. */
  whole(state: State, given: Given, batch: Batch, answer: Seen, rate: number, scale: number): Promise<{ state: State; numbers: Numbers }>
  /** One step on several batches, one at a time. */
  inParts(state: State, given: Given, each: AsyncIterable<readonly [Batch, Seen]>, rate: number, scale: number): Promise<{ state: State; numbers: Numbers }>
  dispose(): void
}

/** Compiles what a step does. */
export function programs({ student, teacher, decay, loss, optimizer, clip, rated, scaled }: ProgramOptions): Programs {
  const { needs } = loss
  const asking = (wanted: Ask["wanted"], batch: Batch): Ask => ({ wanted, ...(needs.top !== undefined && { top: needs.top }), ...(batch.padding && { padding: batch.padding }) })
  let names: string[] = []

  /** Loss, gradients, and how much they count among those of other batches. */
  const gradients = ({ learned, average }: State, { frozen, teacher: taught }: Given, batch: Batch, answer: Seen, scale: Tensor) => {
    let parts: Named = {}, raw: Tensor | undefined
    const seenByTeacher = (): Seen | undefined => {
      if (decay !== undefined) return student.see(loadState(student.parameters, { ...average, ...frozen }), batch.inputs, asking(needs.teacher, batch))
      return teacher?.see(taught, batch.readings?.inputs ?? batch.inputs, asking(needs.teacher, batch))
    }
    const inside = needs.teacher.length === 0 ? undefined : seenByTeacher()
    const { grads } = valueAndGrad((p: State["learned"]) => {
      const view: View = {
        student: student.see(loadState(student.parameters, { ...p.model, ...frozen }), batch.inputs, asking(needs.student, batch)),
        teacher: { ...answer, ...inside, ...(batch.top && { top: batch.top }) }, parameters: p.loss,
        ...(batch.labels && { labels: batch.labels }), ...(batch.mask && { mask: batch.mask }), ...(batch.readings && { readings: batch.readings }), ...(batch.negatives && { negatives: batch.negatives }),
      }
      const made = measure(loss, view)
      parts = made.parts
      raw = made.loss
      return scaled ? mul(made.loss, castTo(scale, made.loss.dtype)) : made.loss
    })(learned)
    names = Object.keys(parts)
    const plain = (t: Tensor): Tensor => castTo(reshape(t, []), "f32")
    const counts = counted(batch)
    return { grads: scaled ? mapTree(grads, (g) => div(g, castTo(scale, g.dtype))) : grads, numbers: stack([plain(raw!), ...Object.values(parts).map(plain)]), count: counts === undefined ? full([], batch.inputs.shape[0]!) : total(counts) }
  }

  /** New parameters, unless loss or gradients are not finite. */
  const moved = (state: State, grads: State["learned"], numbers: Tensor, rate: Tensor): { state: State; numbers: Tensor } => {
    const clipped = clip === undefined ? { grads, norm: globalNorm(grads) } : clipGradNorm(grads, clip)
    const next = optimizer.update(state.learned, clipped.grads, state.optimizer, ...(rated ? [rate] : []))
    const norm = castTo(clipped.norm, "f32"), fine = logicalAnd(isFinite(numbers.narrow(0, 0, 1).reshape([])), isFinite(norm))
    const average = decay === undefined ? {} : mapTree(state.average, (t, name) => (isFloat(t.dtype) ? add(mul(t, decay), mul(next.parameters.model[name] ?? t, 1 - decay)) : t))
    const before = new Map(leavesOf(state).map(({ path, tensor }) => [path, tensor]))
    const kept = mapTree({ learned: next.parameters, optimizer: next.state, average }, (t, path) => where(fine, t, before.get(path)!))
    return { state: kept, numbers: stack([norm, ...split(numbers)]) }
  }
  const split = (t: Tensor): Tensor[] => Array.from({ length: t.shape[0]! }, (_, i) => t.narrow(0, i, 1).reshape([]))

  const whole = compile((state: State, given: Given, batch: Batch, answer: Seen, rate: Tensor, scale: Tensor) => {
    const { grads, numbers } = gradients(state, given, batch, answer, scale)
    return moved(state, grads, numbers, rate)
  }, { donate: [0] })
  interface Sums { readonly grads: State["learned"]; readonly numbers: Tensor; readonly count: Tensor }
  const part = compile((state: State, given: Given, batch: Batch, answer: Seen, sums: Sums, scale: Tensor) => {
    const mine = gradients(state, given, batch, answer, scale), count = add(sums.count, mine.count)
    return { grads: accumulate([sums.grads, mine.grads], [sums.count, mine.count]), numbers: add(sums.numbers, mul(sub(mine.numbers, sums.numbers), div(mine.count, count))), count }
  }, { donate: [4] })
  const first = compile((state: State, given: Given, batch: Batch, answer: Seen, scale: Tensor) => gradients(state, given, batch, answer, scale))
  const apply = compile((state: State, sums: Sums, rate: Tensor) => moved(state, sums.grads, sums.numbers, rate), { donate: [0, 1] })

  const read = async (numbers: Tensor): Promise<Numbers> => {
    const [norm, loss, ...parts] = await numbers.data()
    numbers.dispose()
    return { norm: norm!, loss: loss!, parts: Object.fromEntries(names.map((name, i) => [name, parts[i]!])) }
  }
  return {
    async whole(state, given, batch, answer, rate, scale) {
      const made = await whole(state, given as never, batch as never, answer as never, rate, scale) as unknown as { state: State; numbers: Tensor }
      return { state: made.state, numbers: await read(made.numbers) }
    },
    async inParts(state, given, each, rate, scale) {
      let sums: Sums | undefined
      for await (const [batch, answer] of each)
        sums = (sums === undefined ? await first(state, given as never, batch as never, answer as never, scale) : await part(state, given as never, batch as never, answer as never, sums, scale)) as unknown as Sums
      const made = await apply(state, sums!, rate) as unknown as { state: State; numbers: Tensor }
      return { state: made.state, numbers: await read(made.numbers) }
    },
    dispose() {
      for (const f of [whole, part, first, apply]) f.dispose()
    },
  }
}

/** The state before the first step, of tensors of its own. Steps are smaller than what 16 bits tell apart, so what is stored in 16 bits learns in 32. */
export function initialState(model: Named, lossParameters: Named, optimizer: Optimizer<unknown>, follows: boolean): State {
  const own = (tree: Named): Named => mapTree(tree, (t) => (t.dtype === "f64" || !isFloat(t.dtype) ? add(t, zerosLike(t)) : add(castTo(t, "f32"), zeros(t.shape))))
  const learned = { model: own(model), loss: own(lossParameters) }
  return { learned, optimizer: optimizer.init(learned), average: follows ? own(model) : {} }
}
export const disposeAll = (tree: unknown): void => {
  for (const t of tensorsOf(tree)) t.dispose()
}
