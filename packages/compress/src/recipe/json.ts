import { fail } from "@thimble/core"
import type { Json } from "@thimble/models"
import { formatNamed } from "../format/named.ts"
import { endsOf, int8Activations } from "../method/activations.ts"
import { adaround } from "../method/adaround.ts"
import { awq } from "../method/awq.ts"
import { biasCorrected } from "../method/corrected.ts"
import { gptq } from "../method/gptq.ts"
import { hqq } from "../method/hqq.ts"
import { learned } from "../method/learned.ts"
import { lowRank } from "../method/low-rank.ts"
import { llmInt8 } from "../method/llm-int8.ts"
import { prune } from "../method/prune.ts"
import { pruned } from "../method/pruned.ts"
import { quantize } from "../method/quantize.ts"
import { rotated } from "../method/rotated.ts"
import { rtn } from "../method/rtn.ts"
import { sparsegpt } from "../method/sparsegpt.ts"
import { patternOf as sparsityOf, scoreOf, spreadOf } from "../prune/json.ts"
import { storeNamed } from "../prune/store.ts"
import { smooth } from "../method/smooth.ts"
import { dropBlocks } from "../prune/drop-blocks.ts"
import { shrink } from "../prune/shrink.ts"
import { sliceWidth } from "../prune/slice-width.ts"
import type { QuantizedFormat } from "../quantizer.ts"
import { keep } from "./keep.ts"
import type { Method } from "./method.ts"
import { on, type Pattern } from "./rules.ts"
import type { Stage } from "./stage.ts"

/** Makes what was written down again. */
interface Reader {
  format(name: unknown): QuantizedFormat
  method(json: unknown): Method
}
type Of<T> = (json: Json, reader: Reader) => T

/** A row per method, by the name under which its `toJSON` writes it. */
const methods: Readonly<Record<string, Of<Method>>> = {
  keep: () => keep(),
  rtn: (json, { format }) => rtn({ ...plain(json), format: format(json.format), importance: json.importance !== null && typeof json.importance === "object" ? fail("value", "parseRecipe", "importances that were given are not written down with a recipe", "give it a method of its own: parseRecipe(json, { methods: { rtn: … } })") : ((json.importance ?? "none") as "none") }),
  "llm.int8": (json) => llmInt8(plain(json)),
  learned: (json, { format }) => learned({ ...plain(json), format: format(json.format) }),
  lowRank: (json, { format }) => lowRank({ ...plain(json), format: json.format === "f32" || json.format === "f16" || json.format === "bf16" ? json.format : format(json.format) }),
  "bias corrected": (json, { method }) => biasCorrected(method(json.then)),
  "int8 activations": (json, { method }) => int8Activations({ ...plain(json), method: method(json.then), ends: endsOf(json.ends) } as Parameters<typeof int8Activations>[0]),
  adaround: (json, { format }) => adaround({ ...plain(json), format: format(json.format) }),
  awq: (json, { format }) => awq({ ...plain(json), format: format(json.format) }),
  gptq: (json, { format }) => gptq({ ...plain(json), format: format(json.format) }),
  hqq: (json) => hqq(plain(json) as never),
  pruned: ({ score, pattern, store, spread }, { format }) => pruned({ score: scoreOf(score), pattern: sparsityOf(pattern), store: storeNamed(store, format), ...(spread !== undefined && { spread: spreadOf(spread) }) }),
  sparsegpt: ({ round, store, ...json }, { format }) => sparsegpt({ ...plain(json), sparsity: json.sparsity as number, ...(round === undefined ? { store: storeNamed(store, format) } : { round: format(round) }) }),
  smooth: (json, { method }) => smooth({ ...plain(json), method: method(json.then) }),
}
/** A row per stage. */
const stages: Readonly<Record<string, Of<Stage>>> = {
  quantize: (json, reader) => quantize(matrixOptions(json, reader)),
  prune: (json, reader) => prune(matrixOptions(json, reader)),
  rotated: ({ stage: _, ...json }) => rotated(json),
  shrink: ({ stage: _, ...json }) => shrink(json),
  sliceWidth: ({ stage: _, ...json }) => sliceWidth(json),
  dropBlocks: ({ stage: _, ...json }) => dropBlocks(json),
}

/** Fields that are what they were: numbers, strings. */
function plain(json: Json): Record<string, never> {
  const { method: _, format: __, then: ___, ...rest } = json
  return rest as Record<string, never>
}

/** A method out of JSON by itself, as sensitivities have them. */
export const methodOf = (json: unknown, options?: ParseOptions): Method => readerOf(options).method(json)

function matrixOptions(json: Json, { method }: Reader): Parameters<typeof quantize>[0] {
  const { default: usual, rules = [], sequence } = json
  return {
    ...(usual !== undefined && { default: method(usual) }), ...(sequence !== undefined && { sequence: sequence as "matrices" }),
    rules: array(rules).map((r) => on(patternOf((r as Json).pattern), method((r as Json).method))),
  }
}

function patternOf(json: unknown): Pattern {
  if (typeof json === "string") return json
  const { expression, flags } = record(json, "a pattern")
  if (typeof expression !== "string") return fail("value", "parseRecipe", `a pattern is a name or { expression, flags }, got ${JSON.stringify(json)}`)
  return new RegExp(expression, String(flags ?? ""))
}

const record = (json: unknown, what: string): Json => (json !== null && typeof json === "object" && !Array.isArray(json) ? (json as Json) : fail("value", "parseRecipe", `${what} is an object, got ${JSON.stringify(json)}`))
const array = (json: unknown): readonly unknown[] => (Array.isArray(json) ? json : fail("value", "parseRecipe", `rules are a list, got ${JSON.stringify(json)}`))

export interface ParseOptions {
  /** Formats that are not the library's own, by their names. */
  readonly formats?: readonly QuantizedFormat[]
  /** Methods that are not the library's own, by the `method` of their JSON. */
  readonly methods?: Readonly<Record<string, (json: Json) => Method>>
}

/** A recipe out of what `toJSON` wrote of it: `parseRecipe(JSON.parse(JSON.stringify(recipe)))` plans the same. */
export function parseRecipe(json: unknown, options?: ParseOptions): readonly Stage[] {
  const reader = readerOf(options)
  return (Array.isArray(json) ? json : [json]).map((s) => {
    const j = record(s, "a stage"), name = String(j.stage)
    return Object.hasOwn(stages, name) ? stages[name]!(j, reader) : fail("value", "parseRecipe", `no stage is called '${name}'`, Object.keys(stages).join(", "))
  })
}

function readerOf({ formats = [], methods: own = {} }: ParseOptions = {}): Reader {
  const reader: Reader = {
    format: (name) => (typeof name !== "string" ? fail("value", "parseRecipe", `a format is a name, got ${JSON.stringify(name)}`) : (formats.find((f) => f.name === name) ?? formatNamed(name))),
    method(json) {
      const j = record(json, "a method"), name = String(j.method), make = Object.hasOwn(own, name) ? own[name]! : Object.hasOwn(methods, name) ? methods[name]! : undefined
      return make === undefined ? fail("value", "parseRecipe", `no method is called '${name}'`, [...Object.keys(methods), ...Object.keys(own)].join(", ")) : make(j, reader)
    },
  }
  return reader
}
