import { fail } from "@thimble/core"
import { fileSystem, type SourceOptions } from "@thimble/formats"
import { localFolder, oldSettingsName, sideNames, webFolder, type Folder } from "./folder.ts"

export interface HubOptions {
  /** Branch, tag or commit; `main` unless given. */
  readonly revision?: string
  /** Where files are kept; where Hugging Face's libraries keep them unless given (HF_HUB_CACHE, HF_HOME, ~/.cache/huggingface/hub). */
  readonly cacheDir?: string
  /** For models that are not for everybody. */
  readonly accessToken?: string
  /** Another hub than https://huggingface.co. */
  readonly hubUrl?: string
  /** Instead of the global one. */
  readonly fetch?: typeof fetch
  /** Called while files are downloaded. */
  readonly onDownload?: (progress: DownloadProgress) => void
}
export interface DownloadProgress {
  readonly file: string
  /** Bytes of all files: how many are there, of how many. */
  readonly loaded: number
  readonly total: number
}

/** `owner/name`, or a file of it: `owner/name/model.gguf`. */
const pattern = /^([\w.-]+\/[\w.-]+)(?:\/(.+\.gguf))?$/
export const isHubId = (text: string): boolean => pattern.test(text) && !/(^|\/)\.\.?(\/|$)/.test(text)

/** Asked for under Node only. Bundlers for pages must not see its name: what it has for Node they cannot resolve. */
async function library(): Promise<typeof import("@huggingface/hub")> {
  const name = "@huggingface/hub"
  return (await import(/* webpackIgnore: true */ /* @vite-ignore */ name)) as typeof import("@huggingface/hub")
}

/** What a model consists of, weights in other formats left out. */
const isWanted = (path: string): boolean => sideNames.includes(path) || path === oldSettingsName || /^model(-\d+-of-\d+)?\.safetensors(\.index\.json)?$/.test(path)

/** The files of a model of the hub, from the cache, or downloaded to it; the file that the id names, if it names one. */
export async function hubFolder(id: string, options: HubOptions & SourceOptions): Promise<{ readonly folder: Folder; readonly file?: string }> {
  const [, repo, file] = pattern.exec(id)!, { revision = "main", hubUrl = "https://huggingface.co" } = options
  const named = file === undefined ? {} : { file }
  // A page has no cache directory: files are read where they are.
  if (typeof process !== "object" || process.versions?.node === undefined)
    return { folder: webFolder(`${hubUrl}/${repo!}/resolve/${encodeURIComponent(revision)}/`, { ...options, headers: { ...options.headers, ...(options.accessToken !== undefined && { Authorization: `Bearer ${options.accessToken}` }) } }), ...named }
  const { getHFHubCachePath } = await library()
  const cache = options.cacheDir ?? getHFHubCachePath(), home = `${cache}/models--${repo!.replace("/", "--")}`
  const snapshot = await fetched(repo!, file, { ...options, revision, hubUrl }, home)
  return { folder: await localFolder(snapshot, id), ...named }
}

/** The directory of a revision that is complete. */
async function fetched(repo: string, file: string | undefined, options: HubOptions & SourceOptions & { readonly revision: string; readonly hubUrl: string }, home: string): Promise<string> {
  const { mkdir, readFile, rename, rm, stat, writeFile } = await fileSystem("loadModel")
  const { HubApiError, downloadFile, listFiles, modelInfo } = await library()
  const { revision, hubUrl, accessToken, signal, onDownload } = options, own = options.fetch ?? fetch
  const hub = {
    hubUrl, ...(accessToken !== undefined && { accessToken }),
    fetch: ((input, init) => own(input, { ...init, ...(signal && { signal }) })) as typeof fetch,
  }
  const reference = `${home}/refs/${revision}`, of = (commit: string): string => `${home}/snapshots/${commit}`
  const there = (path: string): Promise<number | undefined> => stat(path).then((s) => s.size, () => undefined)
  const offline = async (why: unknown): Promise<string> => {
    signal?.throwIfAborted()
    if (why instanceof HubApiError) {
      const { statusCode } = why
      return fail("value", "loadModel", `${hubUrl} answers ${statusCode} for '${repo}', revision ${revision}`, statusCode === 401 || statusCode === 403 ? "is it spelled so, and does it want an accessToken?" : statusCode === 404 ? "is it spelled so?" : undefined)
    }
    // What was downloaded once is a model without a network, too.
    const commit = /^[0-9a-f]{40}$/.test(revision) ? revision : await readFile(reference, "utf8").then((s) => s.trim(), () => undefined)
    if (commit !== undefined && (await there(`${of(commit)}/${file ?? "config.json"}`)) !== undefined) return of(commit)
    const { cause } = why as Error
    return fail("value", "loadModel", `there is no '${repo}' here or in ${home}, and ${hubUrl} cannot be reached (${cause instanceof Error ? cause.message : (why as Error).message})`, "download it where there is a network, or load a directory")
  }
  let commit: string, wanted: { readonly path: string; readonly size: number }[] = []
  try {
    commit = (await modelInfo({ name: repo, revision, additionalFields: ["sha"], ...hub })).sha
    for await (const entry of listFiles({ repo, revision: commit, recursive: file !== undefined, ...hub })) if (entry.type === "file" && (file === undefined ? isWanted(entry.path) : entry.path === file)) wanted.push(entry)
  } catch (e) {
    return offline(e)
  }
  if (file !== undefined && wanted.length === 0) fail("value", "loadModel", `'${repo}' has no file '${file}', revision ${revision}`)
  if (wanted.some(({ path }) => path === "model.safetensors")) wanted = wanted.filter(({ path }) => !/^model(-\d+-of|\.safetensors\.index)/.test(path))
  const total = wanted.reduce((n, { size }) => n + size, 0)
  let loaded = 0
  for (const { path, size } of wanted) {
    const to = `${of(commit)}/${path}`, partial = `${to}.partial`
    if ((await there(to)) === size) {
      loaded += size
      continue
    }
    await mkdir(to.slice(0, to.lastIndexOf("/")), { recursive: true })
    const before = loaded
    try {
      const blob = (await downloadFile({ repo, path, revision: commit, ...hub })) ?? fail("value", "loadModel", `'${repo}' has no file '${path}' any more`)
      await writeFile(partial, (async function* () {
        for await (const piece of blob.stream()) {
          signal?.throwIfAborted()
          loaded += piece.length
          onDownload?.({ file: path, loaded, total })
          yield piece
        }
      })())
      signal?.throwIfAborted()
      if (loaded - before !== size) fail("format", "loadModel", `${hubUrl}: '${path}' of '${repo}' came with ${loaded - before} bytes instead of ${size}`)
      await rename(partial, to)
    } catch (e) {
      await rm(partial, { force: true })
      signal?.throwIfAborted()
      if (e instanceof HubApiError) return offline(e)
      throw e
    }
  }
  // The reference comes last: where it points, all files are.
  if (revision !== commit) {
    await mkdir(reference.slice(0, reference.lastIndexOf("/")), { recursive: true })
    await writeFile(reference, commit)
  }
  return of(commit)
}
