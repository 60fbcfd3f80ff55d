import { fail } from "@thimble/core"
import { openSource, type SourceLike, type SourceOptions } from "../source.ts"
import { describedTokenizer } from "./description.ts"
import type { AddedToken, TokenizerJson } from "./library.ts"
import type { Tokenizer } from "./tokenizer.ts"

export interface TokenizerOptions extends SourceOptions {
  /** tokenizer_config.json: which tokens begin and end texts, and the chat template. */
  readonly config?: SourceLike
  /** chat_template.jinja, where the template is in a file of its own. */
  readonly template?: SourceLike
}

type Fields = Readonly<Record<string, unknown>>
const isFields = (x: unknown): x is Fields => typeof x === "object" && x !== null && !Array.isArray(x)

/** Opens a tokenizer.json (Hugging Face). `wrap` adds what its post-processor adds. */
export async function openTokenizer(from: SourceLike, { config, template, ...options }: TokenizerOptions = {}): Promise<Tokenizer> {
  const { file, fields } = await readJson(from, options)
  const settings = config === undefined ? {} : (await readJson(config, options)).fields
  const refuse = (problem: string): never => fail("format", "tokenizer", `${file}: ${problem}`)
  const added = fields.added_tokens ?? []
  if (!Array.isArray(added)) return refuse("`added_tokens` is no array")
  added.forEach((t: unknown, i) => {
    if (!isFields(t) || typeof t.content !== "string" || !Number.isInteger(t.id) || (t.id as number) < 0) refuse(`\`added_tokens[${i}]\` has no content, or no id`)
  })
  const { model } = fields
  if (!isFields(model)) return refuse("`model` is no object; is it a tokenizer.json?")
  const names = modelNames(model, refuse)
  const idOf = (token: unknown): number | undefined => {
    const name = isFields(token) ? token.content : token
    return (added as AddedToken[]).find((t) => t.content === name)?.id ?? names.get(name as string)
  }
  const [bos, eos, unknown] = [idOf(settings.bos_token), idOf(settings.eos_token), idOf(settings.unk_token ?? model.unk_token) ?? (typeof model.unk_id === "number" ? model.unk_id : undefined)]
  const own = template === undefined ? templateOf(settings.chat_template) : (await readText(template, options)).text
  const description = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...fields, model, added_tokens: added } as TokenizerJson
  return describedTokenizer(file, description, {
    ...(bos !== undefined && { bos }), ...(eos !== undefined && { eos }), ...(unknown !== undefined && { unknown }), ...(own !== undefined && { template: own }),
    clean: settings.clean_up_tokenization_spaces === true,
  })
}

/** Names and ids of a model's vocabulary, checked: the library takes what it gets. */
function modelNames(model: Fields, refuse: (problem: string) => never): ReadonlyMap<string, number> {
  const { vocab, merges } = model
  const entries: [unknown, unknown][] = Array.isArray(vocab)
    ? vocab.map((entry: unknown, id): [unknown, unknown] => (Array.isArray(entry) && typeof entry[1] === "number" ? [entry[0], id] : refuse(`\`model.vocab[${id}]\` is no name with a score`)))
    : isFields(vocab) ? Object.entries(vocab) : refuse("`model.vocab` is no object, and no array")
  const names = new Map<string, number>()
  for (const [name, id] of entries) {
    if (typeof name !== "string" || !Number.isInteger(id) || (id as number) < 0 || (id as number) > 2 ** 24) refuse(`\`model.vocab\` gives ${JSON.stringify(name)} the id ${JSON.stringify(id)}`)
    names.set(name as string, id as number)
  }
  if (merges !== undefined || model.type === "BPE") {
    if (!Array.isArray(merges)) return refuse("`model.merges` is no array")
    const wrong = merges.findIndex((m: unknown) => !(typeof m === "string" ? m.includes(" ", 1) : Array.isArray(m) && m.length === 2 && m.every((side) => typeof side === "string")))
    if (wrong >= 0) refuse(`\`model.merges[${wrong}]\` is no pair`)
  }
  return names
}

/** One template, or the one called `default` of several. */
function templateOf(given: unknown): string | undefined {
  if (typeof given === "string") return given
  const named: unknown = Array.isArray(given) ? given.find((t) => isFields(t) && t.name === "default") : undefined
  return isFields(named) && typeof named.template === "string" ? named.template : undefined
}

async function readText(from: SourceLike, options: SourceOptions): Promise<{ file: string; text: string }> {
  await using source = await openSource(from, options)
  try {
    return { file: source.name, text: new TextDecoder("utf-8", { fatal: true }).decode(await source.read(0, source.bytes)) }
  } catch (e) {
    if (!(e instanceof TypeError)) throw e
    return fail("format", "tokenizer", `${source.name}: is not valid UTF-8`)
  }
}
async function readJson(from: SourceLike, options: SourceOptions): Promise<{ file: string; fields: Fields }> {
  const { file, text } = await readText(from, options)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (e) {
    fail("format", "tokenizer", `${file}: ${(e as Error).message}`)
  }
  return isFields(value) ? { file, fields: value } : fail("format", "tokenizer", `${file}: is no object`)
}
