import { fail, tensorsOf, type QuantizedOptions, type Tensor, type Weight } from "@thimble/core"
import { fileSystem, ggufTokenizer, openGguf, openSafetensors, openSafetensorsShards, openSentencePiece, openSource, openTokenizer, type GgufFile, type GgufTokenizerOptions, type SafetensorsFile, type Source, type SourceLike, type SourceOptions, type Tokenizer } from "@thimble/formats"
import { architectureOf } from "./architecture.ts"
import type { Config } from "./config.ts"
import { expectedTensors } from "./expected.ts"
import { localFolder, oldSettingsName, parseJson, readAll, sideNames, webFolder, type Folder } from "./folder.ts"
import { hubFolder, isHubId, type HubOptions } from "./hub.ts"
import { readGgufConfig } from "./gguf-config.ts"
import { readConfig, headlessConfig } from "./json.ts"
import type { Json } from "./json-fields.ts"
import { loadLlama2c } from "./llama2c.ts"
import { dialectOf, emptyBiases, packedFile } from "./dialect/read.ts"
import { createModel, type Model, type ModelOptions } from "./model.ts"
import { tensorOrder } from "./gguf-tensors.ts"
import { lazyWeight } from "./lazy.ts"
import { isKnownName, placeTensors, readSafetensor, unreadSafetensor } from "./tensors-safetensors.ts"
import { checkGgufNames, readGgufTensor, unreadGguf } from "./tensors-gguf.ts"

export interface LoadOptions extends SourceOptions, QuantizedOptions, GgufTokenizerOptions, HubOptions {
  /** What products of quantized matrices see of their other operand; unless given what the checkpoint says (compressed-tensors may), or else all of it. */
  readonly activations?: QuantizedOptions["activations"]
  /** Where the tokenizer is, if not with the model: a tokenizer.json, or a sentencepiece model. `false` leaves it out. */
  readonly tokenizer?: SourceLike | Tokenizer | false
  /**
   * Leaves matrices in their file, or files, until `model.loaded()` asks for them: recipes do that block by block, so that a model
   * can be compressed that would not fit. The file has to stay where it is.
   */
  readonly lazy?: boolean
  /** Called after each tensor that was read. */
  readonly onProgress?: (progress: LoadProgress) => void
}
export interface LoadProgress {
  /** Tensors that were read, of all. */
  readonly done: number
  readonly total: number
  readonly name: string
}

/**
 * Loads a language model: a directory (or a URL that ends with `/`) with config.json and safetensors files, a `.gguf` file, a
 * llama2.c `.bin`, or an id of the hub: `owner/name`, `owner/name/file.gguf`. Weights come to the current device as they are
 * stored: packed blocks stay packed, and so do the codes of directories in the dialects of GPTQ, AWQ, compressed-tensors,
 * bitsandbytes and MLX.
 */
export async function loadModel(from: SourceLike, options: LoadOptions = {}): Promise<Model> {
  if (typeof from !== "string" && !(from instanceof URL)) return loadFile(from, options)
  const path = from instanceof URL && from.protocol === "file:" ? decodeURIComponent(from.pathname) : String(from)
  if (/^https?:\/\//i.test(path)) return path.endsWith("/") ? loadFolder(webFolder(path, options), options) : loadFile(path, options)
  // Where there is no file system, a name can only be an id.
  const found = await fileSystem("loadModel").then(({ stat }) => stat(path)).catch(() => undefined)
  if (found === undefined && isHubId(path)) {
    const { folder, file } = await hubFolder(path, options)
    return file === undefined ? loadFolder(folder, options) : loadFile(folder.locate(file), options)
  }
  if (found === undefined) return fail("value", "loadModel", `there is no '${path}'`, "a directory, a .gguf file, a llama2.c .bin, a URL, or an id of the hub")
  return found.isDirectory() ? loadFolder(await localFolder(path), options) : loadFile(path, options)
}

/** A model in one file. */
async function loadFile(from: SourceLike, options: LoadOptions): Promise<Model> {
  await using source = await openSource(from, options)
  const head = await source.read(0, Math.min(4, source.bytes))
  if (new TextDecoder("latin1").decode(head) === "GGUF") return await loadGguf(source, from, options)
  if (/\.(safetensors|json)$/i.test(source.name)) fail("value", "loadModel", `${source.name} is a part of a model`, "load the directory that it is in")
  return await loadLlama2c(source, options, await givenTokenizer(options))
}

async function loadGguf(source: Source, from: SourceLike, options: LoadOptions): Promise<Model> {
  await using file = await openGguf(source, options)
  const config = await readGgufConfig(file)
  checkGgufNames(file, config)
  const told = options.tokenizer !== undefined ? await givenTokenizer(options) : hasVocabulary(file) ? { tokenizer: await ggufTokenizer(file, options) } : {}
  const parameters = await readEach(expectedTensors(config), async (t) => {
    const unread = options.lazy === true ? unreadGguf(file, config, t) : undefined
    if (unread === undefined) return readGgufTensor(file, config, t, options)
    return [t.path, lazyWeight(t.path, unread, async () => {
      await using again = await openGguf(from, options)
      return (await readGgufTensor(again, config, t, options))[1] as Weight
    })]
  }, options)
  tensorOrder.set(file.metadata, [...file.entries.keys()])
  return createModel(config, parameters, { ...told, metadata: file.metadata, stated: config })
}

const hasVocabulary = ({ metadata }: GgufFile): boolean => !["no_vocab", "none", undefined].includes(metadata.get("tokenizer.ggml.model")?.value as string | undefined)

async function loadFolder(folder: Folder, options: LoadOptions): Promise<Model> {
  if (!(await folder.has("config.json"))) fail("value", "loadModel", `${folder.name}: has no config.json`, "is it the directory of a model?")
  const json = parseJson(await readAll(folder.locate("config.json"), options), `${folder.name}/config.json`), stated = readConfig(json, `${folder.name}/config.json`)
  const sharded = "model.safetensors.index.json", single = "model.safetensors"
  const index = !(await folder.has(single)) && (await folder.has(sharded))
  if (!index && !(await folder.has(single))) fail("value", "loadModel", `${folder.name}: has no ${single}, and no ${sharded}`, "weights in PyTorch's own files cannot be read")
  const openFile = (): Promise<SafetensorsFile> => (index ? openSafetensorsShards(folder.locate(sharded), { ...options, locate: folder.locate }) : openSafetensors(folder.locate(single), options))
  await using file = await openFile()
  const config = headedOrNot(stated, file.entries)
  const said = dialectOf(json, `${folder.name}/config.json`, await oldSettings(folder, json, options)), packed = said && packedFile(file, said)
  const empty = packed && (await emptyBiases(file, packed, (name) => isKnownName(config, name)))
  const placed = placeTensors(file.name, config, packed ? packed.names.filter((name) => !empty!.has(name)) : file.entries.keys())
  const beside = options.tokenizer === undefined ? await folderTokenizer(folder, options) : undefined, told = await givenTokenizer(options)
  const parameters = await readEach(placed, async (t) => {
    if (packed?.isPacked(t.stored)) return packed.read(t, options)
    const unread = options.lazy === true ? unreadSafetensor(file, t) : undefined
    if (unread === undefined) return readSafetensor(file, config, t)
    return [t.expected.path, lazyWeight(t.expected.path, unread, async () => {
      await using again = await openFile()
      return (await readSafetensor(again, config, t))[1] as Weight
    })]
  }, options)
  return createModel(config, parameters, { ...(beside && { tokenizer: beside }), ...told, files: new Map([...(await sideFiles(folder, options)), ...(told.files ?? [])]), stated: config })
}

/** Settings of quantized modules that are not in config.json. */
async function oldSettings(folder: Folder, json: Json, options: LoadOptions): Promise<Json | undefined> {
  const name = oldSettingsName
  return json.quantization_config === undefined && json.quantization === undefined && (await folder.has(name)) ? parseJson(await readAll(folder.locate(name), options), `${folder.name}/${name}`) : undefined
}

async function sideFiles(folder: Folder, options: LoadOptions): Promise<ReadonlyMap<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>()
  for (const name of sideNames) if (await folder.has(name)) files.set(name, await readAll(folder.locate(name), options))
  return files
}

/** Encoders come with their head, or without. */
function headedOrNot(config: Config, entries: ReadonlyMap<string, unknown>): Config {
  const { bodyClassName, names } = architectureOf(config)
  return bodyClassName === undefined || entries.has(`${names.headTransform!}.weight`) ? config : headlessConfig(config)
}

/** Reads tensors one after the other; what was read is released if one fails. */
async function readEach<T>(all: readonly T[], read: (t: T) => Promise<readonly [string, Weight | Tensor]>, { signal, onProgress }: LoadOptions): Promise<Record<string, Weight | Tensor>> {
  const out: Record<string, Weight | Tensor> = {}
  try {
    for (const [i, t] of all.entries()) {
      signal?.throwIfAborted()
      const [name, value] = await read(t)
      out[name] = value
      onProgress?.({ done: i + 1, total: all.length, name })
    }
    return out
  } catch (e) {
    for (const t of tensorsOf(out)) t.dispose()
    throw e
  }
}

/** The tokenizer that lies beside a model. */
async function folderTokenizer(folder: Folder, options: LoadOptions): Promise<Tokenizer | undefined> {
  const beside = async (file: string): Promise<SourceLike | undefined> => ((await folder.has(file)) ? folder.locate(file) : undefined)
  const [json, config, template] = [await beside("tokenizer.json"), await beside("tokenizer_config.json"), await beside("chat_template.jinja")]
  if (json !== undefined) return openTokenizer(json, { ...options, ...(config !== undefined && { config }), ...(template !== undefined && { template }) })
  const pieces = await beside("tokenizer.model")
  return pieces === undefined ? undefined : openSentencePiece(pieces, options)
}

/** The tokenizer that the caller named, and the file that it came from. */
async function givenTokenizer({ tokenizer, ...options }: LoadOptions): Promise<Pick<ModelOptions, "tokenizer" | "files">> {
  if (tokenizer === undefined || tokenizer === false) return {}
  if (typeof tokenizer === "object" && "encode" in tokenizer) return { tokenizer }
  const bytes = await readAll(tokenizer, options), isJson = bytes[0] === 0x7b
  return { tokenizer: await (isJson ? openTokenizer(bytes, options) : openSentencePiece(bytes, options)), files: new Map([[isJson ? "tokenizer.json" : "tokenizer.model", bytes]]) }
}
