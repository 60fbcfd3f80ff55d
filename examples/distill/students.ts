import { adamW, denseWeight, random, realize, type Schedule, type Tensor, type Weight } from "@thimble/core"
import { attentionMaps, distill, dropLayers, evenBlocks, evenly, fit, forwardKL, hidden, labels, narrowed, onPolicy, policyGradient, sequences, softTargets, sum, windows, writtenBy, type Loss, type Run } from "@thimble/distill"
import { createModel, expectedTensors, type Config, type Model } from "@thimble/models"
import { processorSeconds } from "./processor-time.ts"
import { timed } from "./timed.ts"

export interface StudentOptions {
  readonly teacher: Model
  readonly text: Int32Array
  readonly begin: number
  readonly seed: number
  /** Processor time, that for what the teacher writes beforehand included. */
  readonly seconds: number
  readonly batch: number
  readonly length: number
  readonly signal?: AbortSignal
}
export interface Student {
  readonly group: string
  readonly name: string
  /** How many times as long as the others it learns; once unless given. */
  readonly times?: number
  make(options: StudentOptions): Promise<{ readonly model: Model; readonly steps: number }>
}

/** Largest learning rates: of random weights, and of weights that were a teacher's, chosen on the held-out documents that are not scored. */
const [fromNothing, fromTeacher] = [0.003, 0.001]

/** A model of random weights, drawn as `examples/train.ts` draws them: what is added to the stream is smaller the more of it there is. */
export async function scratch(config: Config, seed: number, { tokenizer }: Pick<Model, "tokenizer">): Promise<Model> {
  const parameters: Record<string, Weight | Tensor> = {}, key = random.key(seed), std = 0.5 / Math.sqrt(config.width)
  for (const [i, { kind, path, name, shape }] of expectedTensors(config).entries()) {
    const own = /embed/.test(path) ? 0.02 : /o_proj|down_proj/.test(path) ? std / Math.sqrt(config.layers) : std, values = random.normal(random.foldIn(key, i), shape, { std: kind === "matrix" ? own : 0 })
    if (kind === "matrix") parameters[path] = denseWeight(values)
    else parameters[name] = values.add(name.endsWith(".weight") ? 1 : 0)
  }
  await realize(...Object.values(parameters).flatMap((p) => ("parts" in p ? Object.values(p.parts()) : [p])))
  return createModel(config, parameters, { ...(tokenizer && { tokenizer }) })
}

const parametersOf = (config: Config): number => expectedTensors(config).reduce((n, { shape }) => n + shape.reduce((a, b) => a * b, 1), 0)
/** The widest feed-forward parts, a multiple of 8, with which a model has no more than so many parameters. */
function hiddenFor(config: Config, parameters: number): number {
  let features = 8
  while (parametersOf({ ...config, hidden: features + 8 }) <= parameters) features += 8
  return features
}
/** Half of the blocks. */
const halfDepth = ({ config }: Model): Config => ({ ...config, layers: Math.ceil(config.layers / 2) })
/** A quarter of the parameters: half as wide and three quarters as deep, with as many heads, so that their attention can be compared. */
function quarter({ config, size }: Model): Config {
  const narrow: Config = { ...config, width: config.width / 2, headSize: config.headSize / 2, ...(config.rope && { rope: { ...config.rope, features: config.rope.features / 2 } }), layers: Math.max(1, Math.floor(0.75 * config.layers)) }
  return { ...narrow, hidden: hiddenFor(narrow, size / 4) }
}
/** The first and the last of the teacher's blocks, and others between them, evenly: half of them. On held-out text that is not scored this is ahead of every second one. */
const shallow = (teacher: Model): Model => dropLayers(teacher, evenBlocks(teacher.config.layers, Math.ceil(teacher.config.layers / 2)))
/** Half of the parameters: half of the blocks, with as many of the hidden features as that leaves. */
async function halved(teacher: Model): Promise<Model> {
  const start = shallow(teacher)
  return narrowed(start, { hidden: hiddenFor(start.config, teacher.size / 2) })
}

type How = StudentOptions & { readonly steps: number; readonly rate: Schedule }
type Way = (model: Model, options: How) => Run<Model>
const data = ({ text, begin, batch, length, seed }: StudentOptions) => windows(text, { batch, length, begin, seed })
const learning = (o: How) => ({ optimizer: adamW({ rate: fromNothing, betas: [0.9, 0.99], weightDecay: 0.1 }), clip: 1, seed: o.seed, steps: o.steps, rate: o.rate, ...(o.signal && { signal: o.signal }) })
const taught = (loss: Loss): Way => (model, o) => distill({ teacher: o.teacher, student: model, loss, data: data(o), ...learning(o) })
const soft = (): Loss => softTargets({ temperature: 1, hard: 0.1 })
const own = (o: How) => onPolicy(data(o), { prompt: Math.ceil(o.length / 2), share: 0.25, seed: o.seed })

/** How students of either size, from scratch, learn. */
const ways: Readonly<Record<string, Way>> = {
  "labels only": (model, o) => fit({ model, loss: labels(), data: data(o), ...learning(o) }),
  "soft targets": taught(soft()),
  "soft targets + hidden": taught(sum([1, soft()], [0.1, hidden({ layers: evenly() })])),
  "soft targets + attention": taught(sum([1, soft()], [1, attentionMaps({ layers: evenly(), distance: "kl" })])),
  "on-policy": (model, o) => distill({ teacher: o.teacher, student: model, loss: forwardKL(), data: own(o), ...learning(o) }),
  "on-policy, policy gradient": (model, o) => distill({ teacher: o.teacher, student: model, loss: sum([0.25, policyGradient()], [0.75, softTargets({ temperature: 1 })]), data: own(o), ...learning(o) }),
}

const trained = (start: Model, o: StudentOptions, way: Way, rate = fromNothing): Promise<{ model: Model; steps: number }> =>
  timed({ seconds: o.seconds, rate, ...(o.signal && { signal: o.signal }) }, (how) => way(start, { ...o, ...how }))
/** The teacher writes for a third of the time. */
async function sequenceLevel(start: Model, o: StudentOptions): Promise<{ model: Model; steps: number }> {
  const begun = processorSeconds(), rows: Int32Array[] = []
  do rows.push(...await writtenBy(o.teacher, { sequences: 16, length: o.length, begin: o.begin, seed: o.seed * 1_000_003 + rows.length, ...(o.signal && { signal: o.signal }) }))
  while (processorSeconds() - begun < o.seconds / 3)
  const seconds = Math.max(0, o.seconds - (processorSeconds() - begun))
  return trained(start, { ...o, seconds }, (model, how) => fit({ model, loss: labels(), data: sequences(rows, { batch: Math.min(o.batch, rows.length), seed: o.seed }), ...learning(how) }))
}
/** Half of the time an assistant of three quarters of the depth learns, then it teaches. */
async function progressive(start: Model, o: StudentOptions): Promise<{ model: Model; steps: number }> {
  const { config } = o.teacher, seconds = o.seconds / 2
  const assistant = await trained(await scratch({ ...config, layers: Math.max(start.config.layers, Math.ceil(0.75 * config.layers)) }, o.seed + 100, o.teacher), { ...o, seconds }, taught(soft()))
  const made = await trained(start, { ...o, seconds, teacher: assistant.model }, taught(soft()))
  return { model: made.model, steps: assistant.steps + made.steps }
}

const sized = (group: string, size: (teacher: Model) => Config): Student[] => {
  const start = (o: StudentOptions): Promise<Model> => scratch(size(o.teacher), o.seed, o.teacher)
  return [
    ...Object.entries(ways).map(([name, way]): Student => ({ group, name: `${group}: ${name}`, make: async (o) => trained(await start(o), o, way) })),
    { group, name: `${group}: sequence-level`, make: async (o) => sequenceLevel(await start(o), o) },
    { group, name: `${group}: progressive`, make: async (o) => progressive(await start(o), o) },
  ]
}
/** Soft targets, and the streams of blocks that stay where they were. */
const softAndHidden = (): Loss => sum([1, soft()], [1, hidden({ layers: evenly() })])
const cut = (loss: () => Loss) => async (o: StudentOptions): Promise<{ model: Model; steps: number }> => trained(await halved(o.teacher), o, taught(loss()), fromTeacher)
export const students: readonly Student[] = [
  ...sized("half depth", halfDepth),
  { group: "half depth", name: "half depth: layers dropped, labels only", make: (o) => trained(shallow(o.teacher), o, ways["labels only"]!, fromTeacher) },
  { group: "half depth", name: "half depth: layers dropped, soft targets", make: (o) => trained(shallow(o.teacher), o, taught(soft()), fromTeacher) },
  ...sized("quarter size", quarter),
  { group: "half size", name: "half size: layers dropped and narrowed, soft targets", make: cut(soft) },
  { group: "half size", name: "half size: layers dropped and narrowed, soft targets + hidden", make: cut(softAndHidden) },
  { group: "half size", name: "half size: the same, 30 times the time", times: 30, make: cut(softAndHidden) },
]

/** What should hold: the first diverges less from the teacher than the second, and has the lower perplexity. */
export const orderings: readonly (readonly [claim: string, better: string, worse: string])[] = [
  ["soft targets beat labels only, half depth", "half depth: soft targets", "half depth: labels only"],
  ["soft targets beat labels only, quarter size", "quarter size: soft targets", "quarter size: labels only"],
  ["soft targets beat labels only, layers dropped", "half depth: layers dropped, soft targets", "half depth: layers dropped, labels only"],
  ["hidden states add to soft targets, half depth", "half depth: soft targets + hidden", "half depth: soft targets"],
  ["attention adds to soft targets, half depth", "half depth: soft targets + attention", "half depth: soft targets"],
  ["hidden states add to soft targets, quarter size", "quarter size: soft targets + hidden", "quarter size: soft targets"],
  ["attention adds to soft targets, quarter size", "quarter size: soft targets + attention", "quarter size: soft targets"],
  ["hidden states add to soft targets, layers dropped and narrowed", "half size: layers dropped and narrowed, soft targets + hidden", "half size: layers dropped and narrowed, soft targets"],
  ["layers of the teacher beat random ones, soft targets", "half depth: layers dropped, soft targets", "half depth: soft targets"],
  ["layers of the teacher beat random ones, labels only", "half depth: layers dropped, labels only", "half depth: labels only"],
]
