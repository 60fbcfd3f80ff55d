import { adamW, arange, clipGradNorm, compile, distillationLoss, random, realize, take, tensorsOf, valueAndGrad, type Tensor } from "@thimble/core"
import { convert, lsq, prepare, type IntegerFormat, type PrepareOptions } from "@thimble/compress"
import type { Model } from "@thimble/models"

export interface TrainedOptions {
  readonly format: IntegerFormat
  /** What it starts from, where that is not the model itself: matrices that are stored in the format start with their codes and steps. */
  readonly from?: Model
  readonly rules?: PrepareOptions["rules"]
  readonly steps: number
  readonly batch: number
  readonly length: number
  /** At the start; it falls to 0. */
  readonly rate: number
  readonly seed: number
  readonly signal?: AbortSignal
  readonly onStep?: (step: number, loss: number) => void
}

/** The model as its own student: steps and matrices train, while it computes with what is stored of them, towards its own logits. */
export async function trained(teacher: Model, text: Tensor, { format, from = teacher, rules = [], steps, batch, length, rate, seed, signal, onStep }: TrainedOptions): Promise<Model> {
  let model = await prepare(from, { default: lsq(format), rules })
  const optimizer = adamW({ rate, weightDecay: 0 })
  const step = compile((m: Model, state: ReturnType<typeof optimizer.init>, teacher: Model, text: Tensor, key: Tensor, at: Tensor, rate: Tensor) => {
    const ids = take(text, random.randint(random.foldIn(key, at), [batch, 1], { high: text.size - length }).add(arange(length)))
    const { value, grads } = valueAndGrad((m: Model) => distillationLoss(m.forward(ids), teacher.forward(ids), { temperature: 1 }))(m)
    return { value, ...optimizer.update(m, clipGradNorm(grads, 1).grads, state, rate) }
  }, { donate: [0, 1] })
  let state = optimizer.init(model)
  const kept = new Set<Tensor>()
  using key = random.key(seed)
  await realize(key, ...tensorsOf(state))
  try {
    for (let i = 0; i < steps; i++) {
      signal?.throwIfAborted()
      const made = await step(model, state, teacher, text, key, BigInt(i), rate * (1 - i / steps))
      ;({ parameters: model, state } = made)
      using value = made.value
      onStep?.(i + 1, await value.item())
    }
    const made = await convert(model)
    // Norms stay as they were trained.
    for (const t of tensorsOf(made)) kept.add(t)
    return made
  } finally {
    step.dispose()
    for (const t of [...tensorsOf(state), ...tensorsOf(model)]) if (!t.disposed && !kept.has(t)) t.dispose()
  }
}
