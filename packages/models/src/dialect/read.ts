// Directories whose config.json says that matrices are quantized.
import { fail, quantizedWeight, uploadParts, type QuantizedOptions, type Weight } from "@thimble/core"
import { dialects, storeCodes, type Dialect, type DialectReader, type FileDType, type SafetensorsFile, type Settings, type StoredModule } from "@thimble/formats"
import type { Json } from "../json-fields.ts"
import type { Placed } from "../tensors-safetensors.ts"

/** What config.json says of quantized modules. */
interface Said { readonly dialect: Dialect; readonly reader: DialectReader }

/** Dialects by `quant_method`. Which of GPTQ's versions it is, its settings say. */
const methods: Readonly<Record<string, Dialect>> = {
  gptq: dialects.gptq, awq: dialects.awq, "compressed-tensors": dialects["compressed-tensors"], bitsandbytes: dialects.bitsandbytes, mlx: dialects.mlx,
}

/** The dialect that a config.json names, if it names one; `old` is what quantize_config.json says, where there is one. */
export function dialectOf(json: Json, file: string, old?: Json): Said | undefined {
  const own = json.quantization_config ?? json.compression_config ?? json.quantization ?? (old && { quant_method: "gptq", ...old })
  if (own === undefined || own === null) return undefined
  if (typeof own !== "object" || Array.isArray(own)) return fail("format", "loadModel", `${file}: 'quantization_config' is no object`)
  const said = own as Settings
  // MLX names no method, and the first files of bitsandbytes did not.
  const method = said.quant_method ?? (said.load_in_4bit === true || said.load_in_8bit === true ? "bitsandbytes" : said.group_size !== undefined && json.quantization !== undefined ? "mlx" : undefined)
  const dialect = typeof method === "string" && Object.hasOwn(methods, method) ? methods[method]! : fail("format", "loadModel", `${file}: 'quant_method' is ${JSON.stringify(method)}`, `known are ${Object.keys(methods).join(", ")}`)
  return { dialect, reader: dialect.reader(said) }
}

/** What of a checkpoint's modules is packed. */
export interface PackedFile {
  /** Names as if matrices were plain: `module.weight` stands for all tensors of a packed module. */
  readonly names: readonly string[]
  isPacked(stored: string): boolean
  read(placed: Placed, options: QuantizedOptions): Promise<readonly [string, Weight]>
}

/** Tells packed modules apart by their tensors' types, as vLLM does, and refuses those that the settings call plain. */
export function packedFile(file: SafetensorsFile, { dialect, reader }: Said): PackedFile {
  const modules = new Map<string, Map<string, string>>()
  for (const name of file.entries.keys()) {
    const suffix = dialect.suffixes.filter((s) => name.endsWith(`.${s}`)).sort((a, b) => b.length - a.length)[0]
    if (suffix === undefined) continue
    const module = name.slice(0, -suffix.length - 1), own = modules.get(module) ?? new Map<string, string>()
    own.set(suffix, name)
    modules.set(module, own)
  }
  const types = (own: ReadonlyMap<string, string>): Record<string, FileDType> => Object.fromEntries([...own].map(([suffix, name]) => [suffix, file.entries.get(name)!.dtype]))
  const packed = new Map([...modules].filter(([, own]) => dialect.isPacked(types(own))))
  const wrong = [...packed.keys()].filter((module) => reader.isKept(module))
  if (wrong.length > 0) fail("format", "loadModel", `${file.name}: packed, though config.json says that they are not: ${wrong.join(", ")}`)
  const hidden = new Set([...[...packed.values()].flatMap((own) => [...own.values()]), ...[...file.entries.keys()].filter((name) => dialect.ignored?.test(name))])
  const moduleOf = (stored: string): string => stored.slice(0, -".weight".length)
  return {
    names: [...[...file.entries.keys()].filter((name) => !hidden.has(name)), ...[...packed.keys()].map((module) => `${module}.weight`)],
    isPacked: (stored) => packed.has(moduleOf(stored)),
    async read({ stored, expected: { path, shape } }, options) {
      const module = moduleOf(stored), tensors: Record<string, StoredModule[string]> = {}
      for (const [suffix, name] of packed.get(module)!) {
        const { dtype, shape: own } = file.entries.get(name)!
        tensors[suffix] = { dtype, shape: own, data: await file.array(name) }
      }
      const matrix = shape as [number, number], { format, parts } = storeCodes(reader.read(module, tensors, matrix))
      const { activations = reader.activations?.(module, tensors) } = options
      return [path, quantizedWeight(format, matrix, uploadParts(parts), { ...(activations !== undefined && { activations }) })]
    },
  }
}

/** Biases of zeros that AutoGPTQ gives to modules which have none. Others are refused like any unknown tensor. */
export async function emptyBiases(file: SafetensorsFile, { names, isPacked }: PackedFile, known: (name: string) => boolean): Promise<ReadonlySet<string>> {
  const empty = new Set<string>()
  for (const name of names) {
    if (!name.endsWith(".bias") || known(name) || !isPacked(`${name.slice(0, -".bias".length)}.weight`)) continue
    if ((await file.bytes(name)).every((b) => b === 0)) empty.add(name)
  }
  return empty
}
