import { adamW, denseWeight, random, realize, type Schedule, type Tensor, type Weight } from "@thimble/core"
import { attentionMaps, distill, dropLayers, everySecond, evenly, fit, forwardKL, hidden, labels, onPolicy, policyGradient, sequences, softTargets, sum, windows, writtenBy, type Loss, type Run } from "@thimble/distill"
import { createModel, expectedTensors, type Config, type Model } from "@thimble/models"
import { timed } from "./timed.ts"

export interface StudentOptions {
  readonly teacher: Model
  readonly text: Int32Array
  readonly begin: number
  readonly seed: number
  /** Wall time, that for what the teacher writes beforehand included. */
  readonly seconds: number
  readonly batch: number
  readonly length: number
  readonly signal?: AbortSignal
}
export interface Student {
  readonly group: string
  readonly name: string
  make(options: StudentOptions): Promise<{ readonly model: Model; readonly steps: number }>
}

const rate = 0.003
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

/** Half of the blocks. */
const half = ({ config }: Model): Config => ({ ...config, layers: Math.ceil(config.layers / 2) })
/** A quarter of the parameters, or less: half as wide and half as deep, with as many heads, so that their attention can be compared. */
const quarter = ({ config }: Model): Config => ({ ...config, width: config.width / 2, headSize: config.headSize / 2, ...(config.rope && { rope: { ...config.rope, features: config.rope.features / 2 } }), hidden: config.hidden / 2, layers: Math.max(1, Math.floor(config.layers / 2)) })

type How = StudentOptions & { readonly steps: number; readonly rate: Schedule }
const data = ({ text, begin, batch, length, seed }: StudentOptions) => windows(text, { batch, length, begin, seed })
const learning = (o: How) => ({ optimizer: adamW({ rate, weightDecay: 0.1 }), clip: 1, seed: o.seed, steps: o.steps, rate: o.rate, ...(o.signal && { signal: o.signal }) })
const taught = (loss: Loss) => (model: Model, o: How): Run<Model> => distill({ teacher: o.teacher, student: model, loss, data: data(o), ...learning(o) })
const soft = (): Loss => softTargets({ temperature: 1, hard: 0.1 })

/** How students of either size, from scratch, learn. */
const ways: Readonly<Record<string, (model: Model, options: How) => Run<Model>>> = {
  "labels only": (model, o) => fit({ model, loss: labels(), data: data(o), ...learning(o) }),
  "soft targets": taught(soft()),
  "soft targets + hidden": taught(sum([1, soft()], [0.1, hidden({ layers: evenly() })])),
  "soft targets + attention": taught(sum([1, soft()], [1, attentionMaps({ layers: evenly(), distance: "kl" })])),
  "on-policy": (model, o) => distill({ teacher: o.teacher, student: model, loss: forwardKL(), data: onPolicy(data(o), { prompt: Math.ceil(o.length / 2), share: 0.25, seed: o.seed }), ...learning(o) }),
  "on-policy, policy gradient": (model, o) => distill({ teacher: o.teacher, student: model, loss: sum([0.25, policyGradient()], [0.75, softTargets({ temperature: 1 })]), data: onPolicy(data(o), { prompt: Math.ceil(o.length / 2), share: 0.25, seed: o.seed }), ...learning(o) }),
}

async function trained(start: Model, o: StudentOptions, way: (model: Model, o: How) => Run<Model>): Promise<{ model: Model; steps: number }> {
  return timed({ seconds: o.seconds, rate, ...(o.signal && { signal: o.signal }) }, (how) => way(start, { ...o, ...how }))
}
/** The teacher writes for a third of the time. */
async function sequenceLevel(start: Model, o: StudentOptions): Promise<{ model: Model; steps: number }> {
  const begun = performance.now(), rows: Int32Array[] = []
  do rows.push(...await writtenBy(o.teacher, { sequences: 16, length: o.length, begin: o.begin, seed: o.seed * 1_000_003 + rows.length, ...(o.signal && { signal: o.signal }) }))
  while (performance.now() - begun < (1000 * o.seconds) / 3)
  const left = Math.max(0, o.seconds - (performance.now() - begun) / 1000)
  return trained(start, { ...o, seconds: left }, (model, how) => fit({ model, loss: labels(), data: sequences(rows, { batch: Math.min(o.batch, rows.length), seed: o.seed }), ...learning(how) }))
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
export const students: readonly Student[] = [
  ...sized("half depth", half),
  { group: "half depth", name: "half depth: layers dropped, labels only", make: (o) => trained(dropLayers(o.teacher, everySecond), o, ways["labels only"]!) },
  { group: "half depth", name: "half depth: layers dropped, soft targets", make: (o) => trained(dropLayers(o.teacher, everySecond), o, taught(soft())) },
  ...sized("quarter size", quarter),
]

/** What should hold: the first diverges less from the teacher than the second. */
export const orderings: readonly (readonly [better: string, worse: string])[] = [
  ["half depth: soft targets", "half depth: labels only"], ["quarter size: soft targets", "quarter size: labels only"],
  ["half depth: layers dropped, soft targets", "half depth: soft targets"], ["half depth: layers dropped, labels only", "half depth: labels only"],
  ["half depth: layers dropped, soft targets", "half depth: layers dropped, labels only"],
]
