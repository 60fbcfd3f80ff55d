import { fail } from "@thimble/core"
import { fileSystem, openSource, type SourceLike, type SourceOptions } from "@thimble/formats"

/** Files that belong together: a directory, or what is like one. */
export interface Folder {
  /** What errors call it. */
  readonly name: string
  has(file: string): Promise<boolean>
  /** Where a file that is there can be read. */
  locate(file: string): SourceLike
}

/** Files of a directory that say more about the model, and are written with it. */
export const sideNames: readonly string[] = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "chat_template.jinja"]

/** Where AutoGPTQ said how modules are quantized, before config.json did. */
export const oldSettingsName = "quantize_config.json"

export async function localFolder(path: string, name = path): Promise<Folder> {
  const { readdir } = await fileSystem("loadModel")
  const files = new Set(await readdir(path))
  return { name, has: (file) => Promise.resolve(files.has(file)), locate: (file) => `${path}/${file}` }
}

/** Files under a URL. */
export function webFolder(url: string, { headers = {}, signal }: SourceOptions): Folder {
  const root = url.endsWith("/") ? url : `${url}/`, at = (file: string): string => new URL(file, root).href
  return {
    name: url,
    async has(file) {
      const answer = await fetch(at(file), { method: "HEAD", headers: { ...headers }, ...(signal && { signal }) })
      if (answer.status !== 404 && !answer.ok) fail("format", "loadModel", `${at(file)}: the server answers ${answer.status} ${answer.statusText}`.trimEnd())
      return answer.ok
    },
    locate: at,
  }
}

/** The bytes of a file. */
export async function readAll(from: SourceLike, options: SourceOptions = {}): Promise<Uint8Array> {
  await using source = await openSource(from, options)
  return (await source.read(0, source.bytes)).slice()
}

/** A file as an object of JSON. */
export function parseJson(bytes: Uint8Array, file: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes))
  } catch (e) {
    fail("format", "loadModel", `${file}: ${(e as Error).message}`)
  }
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : fail("format", "loadModel", `${file}: is no object`)
}
