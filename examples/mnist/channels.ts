import { adamW, batchNorm, compile, conv2d, crossEntropy, grad, mapTree, maxPool2d, random, realize, relu, tensor, tensorsOf, type Tensor } from "@thimble/core"
import { coupledMagnitudes, keepCoupled, traceCouplings } from "@thimble/compress"
import { examples, network } from "@thimble/distill"
import { places, score, side, type Digits } from "./digits.ts"

type Named = Readonly<Record<string, Tensor>>
/** What learns, and the running statistics of norms. */
interface Convolutions { readonly learned: Named; readonly running: Named }

const [first, second] = [32, 64], pixels = (side / 4) ** 2

async function fresh(seed: number): Promise<Convolutions> {
  const key = random.key(seed), he = (n: number, shape: readonly number[]): Tensor => random.normal(random.foldIn(key, n), shape, { std: Math.sqrt(2 / shape.slice(1).reduce((a, b) => a * b)) })
  const fill = (n: number, value: number): Tensor => tensor(new Float32Array(n).fill(value))
  const made: Convolutions = {
    learned: { filters1: he(1, [first, 1, 3, 3]), scale1: fill(first, 1), shift1: fill(first, 0), filters2: he(2, [second, first, 3, 3]), scale2: fill(second, 1), shift2: fill(second, 0), last: he(3, [10, second * pixels]), bias: fill(10, 0) },
    running: { mean1: fill(first, 0), variance1: fill(first, 1), mean2: fill(second, 0), variance2: fill(second, 1) },
  }
  await realize(...tensorsOf(made))
  return made
}

/** Two convolutions of 3 × 3, each with batch norm and halved in size, and a linear layer. */
function forward({ learned: p, running: r }: Convolutions, x: Tensor, training: boolean): { readonly logits: Tensor; readonly running: Named } {
  const one = batchNorm(conv2d(x.reshape([x.shape[0]!, 1, side, side]), p.filters1!, undefined, { padding: 1 }), r.mean1!, r.variance1!, p.scale1, p.shift1, { training })
  const two = batchNorm(conv2d(maxPool2d(relu(one.output), 2).values, p.filters2!, undefined, { padding: 1 }), r.mean2!, r.variance2!, p.scale2, p.shift2, { training })
  return {
    logits: maxPool2d(relu(two.output), 2).values.reshape([x.shape[0]!, -1]).linear(p.last!, p.bias),
    running: { mean1: one.mean, variance1: one.variance, mean2: two.mean, variance2: two.variance },
  }
}

interface LearnOptions { readonly training: Digits; readonly seed: number; readonly epochs: number; readonly rate: number }
/** What it was made from stays. */
async function learned(from: Convolutions, { training, seed, epochs, rate }: LearnOptions): Promise<Convolutions> {
  const batch = 50, data = examples({ inputs: training.images, shape: [places], labels: training.labels }, { batch, seed }), steps = epochs * data.batches!, optimizer = adamW({ rate, weightDecay: 0 })
  let model = mapTree(from, (t) => t.mul(1)), state = optimizer.init(model.learned)
  await realize(...tensorsOf([model, state]))
  const step = compile((m: Convolutions, s: typeof state, x: Tensor, y: Tensor, rate: Tensor) => {
    const { logits, running } = forward(m, x, true), names = Object.keys(m.learned), slopes = grad(crossEntropy(logits, y), names.map((n) => m.learned[n]!))
    const { parameters, state } = optimizer.update(m.learned, Object.fromEntries(names.map((n, i) => [n, slopes[i]!])), s, rate)
    return { model: { learned: parameters, running }, state }
  }, { donate: [0, 1] })
  for (let i = 0; i < steps; i++) {
    const { inputs, labels } = await data.batch(i, undefined as never)
    ;({ model, state } = (await step(model, state, inputs, labels!, rate * 0.5 * (1 + Math.cos((Math.PI * i) / steps)))) as { model: Convolutions; state: typeof state })
    inputs.dispose()
    labels!.dispose()
  }
  step.dispose()
  for (const t of tensorsOf(state)) t.dispose()
  return model
}

/** Leaves out the share of channels of each layer whose filters are smallest; what goes with them, the graph says. */
async function narrower(model: Convolutions, share: number): Promise<Convolutions> {
  let weights: Named = { ...model.learned, ...model.running }
  using x = tensor(new Float32Array(2 * places), { shape: [2, places] })
  const couplings = traceCouplings((x) => forward(model, x, false).logits, [x], weights)
  for (const coupling of couplings) {
    const sizes = await coupledMagnitudes(weights, { ...coupling, axes: coupling.axes.filter((a) => a.weight.startsWith("filters")) })
    const kept = [...sizes.keys()].sort((a, b) => sizes[b]! - sizes[a]! || a - b).slice(0, Math.round(coupling.count * (1 - share)))
    weights = await keepCoupled(weights, coupling, kept.sort((a, b) => a - b))
  }
  const pick = (own: Named): Named => Object.fromEntries(Object.keys(own).map((n) => [n, weights[n]!]))
  return { learned: pick(model.learned), running: pick(model.running) }
}

export interface ChannelOptions extends LearnOptions {
  readonly test: Digits
  readonly share: number
  /** Times that the smaller network sees every image. */
  readonly tuning: number
}
export interface ChannelResult {
  readonly whole: number
  readonly cut: number
  readonly tuned: number
  readonly before: Convolutions
  readonly after: Convolutions
}
export async function channels({ test, share, tuning, ...how }: ChannelOptions): Promise<ChannelResult> {
  const right = async (m: Convolutions): Promise<number> => (await score(network({ parameters: m, dimensions: { classes: 10 }, forward: (p, x) => forward(p, x, false).logits }), m, test)).percent
  const before = await learned(await fresh(how.seed), how), cut = await narrower(before, share), after = await learned(cut, { ...how, epochs: tuning, rate: how.rate / 2 })
  return { whole: await right(before), cut: await right(cut), tuned: await right(after), before, after }
}
export const parametersOf = ({ learned }: Convolutions): number => tensorsOf(learned).reduce((n, t) => n + t.size, 0)

/** Milliseconds of a batch of images by each, in turns; medians. */
export async function milliseconds(models: readonly Convolutions[], { images }: Digits, batch: number, rounds: number): Promise<readonly number[]> {
  using x = tensor(images.slice(0, batch * places), { shape: [batch, places] })
  const runs = models.map((m) => compile((x: Tensor) => forward(m, x, false).logits)), times = models.map((): number[] => [])
  await realize(x)
  for (let round = -2; round < rounds; round++)
    for (const [i, run] of runs.entries()) {
      const start = performance.now()
      using y = await run(x)
      await y.data()
      if (round >= 0) times[i]!.push(performance.now() - start)
    }
  for (const run of runs) run.dispose()
  return times.map((t) => t.sort((a, b) => a - b)[t.length >> 1]!)
}
