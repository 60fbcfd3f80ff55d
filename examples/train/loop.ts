import { setImmediate as turn } from "node:timers/promises"
import { adamW, add, arange, clipGradNorm, compile, crossEntropy, eq, random, realize, schedule, slice, take, tensor, tensorsOf, valueAndGrad, where, type AdamState, type Key, type Schedule, type Tensor } from "@thimble/core"
import { forward, initialize, type Config, type Parameters } from "./model.ts"

export interface TrainOptions {
  readonly config: Config
  /** Tokens in their order. */
  readonly text: Uint8Array | Int32Array
  /** A token that takes the place of each window's first, so that the model knows a text by its beginning. */
  readonly begin?: number
  readonly seed: number
  /** Steps to make. Unless given, as many as fit into `seconds`, estimated during the warm-up. */
  readonly steps?: number
  readonly seconds?: number
  /** Ends after this step of the plan, as an interruption would. */
  readonly stop?: number
  /** Sequences per step. */
  readonly batch?: number
  /** Largest learning rate. */
  readonly rate?: number
  /** Steps in which the rate rises, at least 2. */
  readonly warmup?: number
  /** Last steps, of those before `stop`, in which the rate falls to 0 on top of its plan, so that an early end is a good one; 0 unless given. */
  readonly cooldown?: number
  /** Goes on from here; the tensors are used up. With the same options the end is the same as without the interruption. */
  readonly from?: Snapshot
  /** Ends training at the current step. */
  readonly signal?: AbortSignal
  /** Called after each step, and waited for. */
  readonly onStep?: (progress: Progress, snapshot: Snapshot) => unknown
  /** Called at the end, however it came: by itself, by `stop` or by an interruption; waited for. */
  readonly onEnd?: (snapshot: Snapshot) => unknown
}
/** All that training goes on from. What callbacks get is valid until they return. */
export interface Snapshot {
  readonly step: number
  readonly parameters: Parameters
  readonly state: AdamState
}
export interface Progress {
  /** Steps made, and planned; unknown until their speed is. */
  readonly step: number
  readonly steps: number | undefined
  readonly loss: number
  readonly tokensPerSecond: number
}
export interface Trained extends Progress {
  readonly parameters: Parameters
  readonly steps: number
  /** Programs that were needed: one for all steps. */
  readonly programs: number
}

const optimizer = adamW({ rate: 0, betas: [0.9, 0.99], weightDecay: 0.1, decays: (_path, p) => p.rank > 1 })

/** Mean cross-entropy of predicting each token from those before it; `windows` [batch, context + 1]. */
function loss(parameters: Parameters, config: Config, windows: Tensor): Tensor {
  const length = windows.shape[1]! - 1
  return crossEntropy(forward(parameters, config, slice(windows, [], [0, length])), slice(windows, [], [1, length + 1]))
}

/** Trains a model from random parameters on random windows of a text. All that depends on chance depends on the seed. */
export async function train(options: TrainOptions): Promise<Trained> {
  const begun = performance.now()
  const { config, seed, seconds = 60, stop = Infinity, batch = 16, rate = 3e-3, warmup = 20, cooldown = 0, begin, from: start, signal, onStep, onEnd } = options
  const [initial, draws] = random.split(random.key(seed)) as [Tensor, Tensor]
  const text = tensor(options.text)
  let parameters = start?.parameters ?? await initialize(config, initial)
  let state = start?.state ?? optimizer.init(parameters)
  await realize(draws, ...tensorsOf(state))

  // One program for all steps: the step's number, which chooses the windows, and its rate are run-time scalars.
  const makeStep = compile((p: Parameters, s: typeof state, text: Tensor, draws: Key, step: Tensor, rate: Tensor) => {
    const starts = random.randint(random.foldIn(draws, step), [batch, 1], { high: text.size - config.context })
    const place = arange(config.context + 1), taken = take(text, add(starts, place))
    const windows = begin === undefined ? taken : where(eq(place, 0), begin, taken)
    const { value, grads } = valueAndGrad((p: Parameters) => loss(p, config, windows))(p)
    return { value, ...optimizer.update(p, clipGradNorm(grads, 1).grads, s, rate) }
  }, { donate: [0, 1] })

  let steps = options.steps
  let rateAt = rates(rate, warmup, steps)
  const slower = (step: number): number => (cooldown === 0 ? 1 : Math.min(1, (Math.min(steps ?? Infinity, stop) - step) / cooldown))
  let step = start?.step ?? 0, value = NaN, measured = 0, from = 0, speed = 0
  const first = step
  while (step < Math.min(steps ?? Infinity, stop) && !signal?.aborted) {
    const made = await makeStep(parameters, state, text, draws, BigInt(step), rateAt(step) * slower(step))
    ;({ parameters, state } = made)
    value = await made.value.item()
    made.value.dispose()
    if (!Number.isFinite(value)) throw new RangeError(`the loss of step ${step} is ${value}; train with a lower rate`)
    step++
    // The first steps, which make and warm the program, are not measured.
    const now = performance.now()
    if (step - first === warmup >> 1) [measured, from] = [now, step]
    else if (step - first > warmup >> 1) speed = ((step - from) * batch * config.context * 1000) / (now - measured)
    // Until the rise ends, the rates do not depend on the number of steps.
    if (steps === undefined && step === warmup) {
      steps = step + Math.max(1, Math.floor(((seconds - (now - begun) / 1000) * speed) / (batch * config.context)))
      rateAt = rates(rate, warmup, steps)
    }
    await onStep?.({ step, steps, loss: value, tokensPerSecond: speed }, { step, parameters, state })
    // Lets timers and signals in, which promises alone do not.
    await turn()
  }
  await onEnd?.({ step, parameters, state })
  for (const t of tensorsOf([state, text, draws, initial])) t.dispose()
  const { programs } = makeStep
  makeStep.dispose()
  return { parameters, step, steps: steps ?? step, loss: value, tokensPerSecond: speed, programs }
}

/** A rise to the largest rate and half a cosine down to a hundredth of it. The rise is the same for every number of steps. */
function rates(rate: number, warmup: number, steps = Infinity): Schedule {
  const falling = steps > warmup && steps < Infinity ? schedule.cosine({ from: rate, to: rate / 100, steps: steps - warmup }) : schedule.constant(rate)
  const whole = schedule.warmup(falling, warmup)
  // Step 0 already learns.
  return (step) => whole(step + 1)
}
