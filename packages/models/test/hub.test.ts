import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { tensor } from "@thimble/core"
import { afterAll, expect, test } from "vitest"
import { loadModel, saveModel, type DownloadProgress } from "../src/index.ts"

const fixture = fileURLToPath(new URL("../fixtures/models/llama/", import.meta.url))
const out = mkdtempSync(join(tmpdir(), "thimble-hub-"))
afterAll(() => rmSync(out, { recursive: true }))

const commit = "0123456789abcdef0123456789abcdef01234567"
const unreachable = (): Promise<Response> => Promise.reject(new TypeError("fetch failed", { cause: new Error("getaddrinfo ENOTFOUND hub.test") }))

/** A hub with one model, some files of which nobody needs. */
function hub(files: Readonly<Record<string, Uint8Array>>): { fetch: typeof fetch; asked: string[] } {
  const asked: string[] = []
  const answer = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    init?.signal?.throwIfAborted()
    const url = new URL(input instanceof Request ? input.url : input), path = url.pathname
    asked.push(path)
    const json = (value: object, status = 200): Response => new Response(JSON.stringify(value), { status, headers: { "content-type": "application/json" } })
    if (path.startsWith("/api/models/some/model/revision/")) return json({ _id: "1", id: "some/model", sha: commit, lastModified: "2026-01-01" })
    if (path.startsWith(`/api/models/some/model/tree/${commit}`)) return json(Object.entries(files).map(([name, bytes]) => ({ type: "file", path: name, size: bytes.length, oid: "1" })))
    const bytes = files[path.replace(`/some/model/resolve/${commit}/`, "")]
    if (bytes === undefined) return json({ error: "Repository not found" }, 404)
    const range = /bytes=(\d+)-(\d+)/.exec(new Headers(init?.headers).get("range") ?? "")
    if (range === null) return new Response(bytes.slice(), { headers: { etag: '"1"' } })
    const [from, to] = [Number(range[1]), Math.min(Number(range[2]), bytes.length - 1)]
    return new Response(bytes.slice(from, to + 1), { status: 206, headers: { etag: '"1"', "content-range": `bytes ${from}-${to}/${bytes.length}` } })
  }
  return { fetch: answer as typeof fetch, asked }
}
const bytesOf = (file: string): Uint8Array => new Uint8Array(readFileSync(fixture + file))
const files = { "README.md": new Uint8Array(9), "config.json": bytesOf("config.json"), "model.safetensors": bytesOf("model.safetensors"), "pytorch_model.bin": new Uint8Array(99) }
const options = (name: string, over: typeof fetch) => ({ cacheDir: join(out, name), hubUrl: "https://hub.test", fetch: over })
const ids = tensor(Int32Array.from([1, 2, 3]), { shape: [1, 3] })

test("a model of the hub is downloaded once, and needs no network then", async () => {
  const { fetch, asked } = hub(files), progress: DownloadProgress[] = []
  const model = await loadModel("some/model", { ...options("a", fetch), onDownload: (p) => progress.push(p) })
  expect(await model.forward(ids).data()).toEqual(await (await loadModel(fixture)).forward(ids).data())
  const total = files["config.json"].length + files["model.safetensors"].length
  expect(progress.at(-1)).toEqual({ file: "model.safetensors", loaded: total, total })
  expect(asked.some((path) => /README|pytorch/.test(path))).toBe(false)
  // Where Hugging Face's own libraries look for it.
  expect(readFileSync(join(out, "a/models--some--model/refs/main"), "utf8")).toBe(commit)
  expect(readdirSync(join(out, "a/models--some--model/snapshots", commit)).sort()).toEqual(["config.json", "model.safetensors"])

  const before = asked.length
  await loadModel("some/model", options("a", fetch))
  expect(asked.slice(before).every((path) => path.startsWith("/api/"))).toBe(true)
  expect((await loadModel("some/model", options("a", unreachable))).size).toBe(model.size)
})

test("a GGUF file of it", async () => {
  const path = join(out, "m.gguf")
  await saveModel(await loadModel(fixture), path)
  const { fetch } = hub({ ...files, "m.gguf": new Uint8Array(readFileSync(path)) })
  const model = await loadModel("some/model/m.gguf", options("b", fetch))
  expect([model.config.architecture, model.metadata?.get("general.architecture")?.value]).toEqual(["llama", "llama"])
  await expect(loadModel("some/model/other.gguf", options("b", fetch))).rejects.toThrow("loadModel: 'some/model' has no file 'other.gguf', revision main")
})

test("what cannot be had is said", async () => {
  await expect(loadModel("some/model", options("c", unreachable))).rejects.toThrow(
    /loadModel: there is no 'some\/model' here or in .*models--some--model, and https:\/\/hub\.test cannot be reached \(getaddrinfo ENOTFOUND hub\.test\); download it where there is a network, or load a directory/)
  await expect(loadModel("some/other", options("c", hub(files).fetch))).rejects.toThrow("loadModel: https://hub.test answers 404 for 'some/other', revision main; is it spelled so?")
  await expect(loadModel("neither-here-nor-an-id", options("c", unreachable))).rejects.toThrow("loadModel: there is no 'neither-here-nor-an-id'; a directory, a .gguf file")
})

test("a download that is aborted, or cut off, leaves no file that looks complete", async () => {
  const { fetch } = hub(files), control = new AbortController(), home = join(out, "d/models--some--model")
  await expect(loadModel("some/model", { ...options("d", fetch), signal: control.signal, onDownload: ({ file }) => file === "model.safetensors" && control.abort() })).rejects.toThrow("aborted")
  expect(readdirSync(join(home, "snapshots", commit))).toEqual(["config.json"])
  expect(() => statSync(join(home, "refs/main"))).toThrow("ENOENT")
  const short: typeof globalThis.fetch = async (input, init) => {
    const answer = await fetch(input, init)
    return String(input).includes("resolve") && (await answer.clone().arrayBuffer()).byteLength > 1000 ? new Response((await answer.arrayBuffer()).slice(0, 500), { headers: answer.headers, status: answer.status }) : answer
  }
  await expect(loadModel("some/model", options("d", short))).rejects.toThrow(/model\.safetensors' of 'some\/model' came with 500 bytes instead of/)
  expect(readdirSync(join(home, "snapshots", commit))).toEqual(["config.json"])
  // What is there is not downloaded again; a file of another size is.
  writeFileSync(join(home, "snapshots", commit, "config.json"), "{}")
  expect((await loadModel("some/model", options("d", fetch))).config.width).toBe(16)
})
