import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import { mkdtemp, open, rm, writeFile } from "node:fs/promises"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import fc from "fast-check"
import { ThimbleError } from "@thimble/core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openSource, type SourceLike } from "../src/index.ts"

const bytes = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 2654435761) >>> 24)
let folder: string, path: string, server: Server, base: string, tag = '"one"'
const asked: string[] = []

function answer(request: IncomingMessage, response: ServerResponse): void {
  asked.push(request.headers.range ?? "all")
  const [, begin, end] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "")!.map(Number) as [number, number, number]
  if (request.url === "/secret" && request.headers.authorization !== "Bearer x") return void response.writeHead(401, "Unauthorized").end()
  if (request.url === "/none") return void response.writeHead(404, "Not Found").end()
  if (request.url === "/whole") return void response.end(bytes)
  if (request.url === "/empty") return void response.writeHead(416, { "content-range": "bytes */0" }).end()
  if (request.url === "/unsized") return void response.writeHead(206, { "content-range": `bytes ${begin}-${end}/*` }).end(bytes.subarray(begin, end + 1))
  if (request.headers["if-match"] !== undefined && request.headers["if-match"] !== tag) return void response.writeHead(412, "Precondition Failed").end()
  const part = bytes.subarray(begin, Math.min(end + 1, bytes.length))
  response.writeHead(206, { "content-range": `bytes ${begin}-${begin + part.length - 1}/${bytes.length}`, etag: tag }).end(part)
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "source-"))
  path = join(folder, "a.bin")
  await writeFile(path, bytes)
  server = createServer(answer)
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterAll(async () => {
  server.closeAllConnections()
  await new Promise((done) => server.close(done))
  await rm(folder, { recursive: true })
})

describe("wherever bytes come from, any stretch of them is read", () => {
  const kinds: Record<string, () => SourceLike> = {
    "a path": () => path, "a file URL": () => pathToFileURL(path), "bytes": () => bytes, "an ArrayBuffer": () => bytes.slice().buffer,
    "a Blob": () => new Blob([bytes]), "http, by ranges": () => `${base}/ranges`, "http, an URL": () => new URL(`${base}/ranges`), "http without ranges": () => `${base}/whole`,
  }
  test.each(Object.keys(kinds))("%s", async (kind) => {
    await using source = await openSource(kinds[kind]!())
    expect(source.bytes).toBe(bytes.length)
    await fc.assert(fc.asyncProperty(fc.nat(bytes.length), fc.nat(bytes.length), async (a, b) => {
      const [begin, end] = [Math.min(a, b), Math.max(a, b)]
      expect(Buffer.from(await source.read(begin, end)).equals(bytes.subarray(begin, end))).toBe(true)
    }), { numRuns: 20 })
  })
  test("an open file, which stays open", async () => {
    await using file = await open(path)
    const source = await openSource(file)
    expect([...await source.read(5, 9)]).toEqual([...bytes.subarray(5, 9)])
    await source.close()
    expect((await file.stat()).size).toBe(bytes.length)
  })
})

test("the beginning of a file over http costs one request", async () => {
  asked.length = 0
  await using source = await openSource(`${base}/ranges`)
  for (const [a, b] of [[0, 8], [8, 1000], [1000, 60_000]] as const) await source.read(a, b)
  expect(asked).toEqual(["bytes=0-65535"])
  await source.read(100_000, 100_010)
  expect(asked.at(-1)).toBe("bytes=100000-100009")
})

test("what a server refuses is an error with the reason", async () => {
  await expect(openSource(`${base}/none`)).rejects.toThrow(`${base}/none: the server answers 404 Not Found`)
  await expect(openSource(`${base}/secret`)).rejects.toThrow("401 Unauthorized; does it want headers?")
  expect((await openSource(`${base}/secret`, { headers: { authorization: "Bearer x" } })).bytes).toBe(bytes.length)
  await expect(openSource(`${base}/unsized`)).rejects.toThrow("does not tell how long the file is")
  expect((await openSource(`${base}/empty`)).bytes).toBe(0)
  await expect(openSource(`${base}/ranges`, { signal: AbortSignal.abort() })).rejects.toThrow("aborted")
})

test("a file that changes while it is read is noticed", async () => {
  const source = await openSource(`${base}/ranges`)
  tag = '"two"'
  await expect(source.read(100_000, 100_010)).rejects.toThrow(ThimbleError)
  await using file = await openSource(path)
  await writeFile(path, bytes.subarray(0, 100))
  await expect(file.read(50, 150)).rejects.toThrow("ended at byte 100, before 150; it became shorter while it was read?")
})

test("nothing else is a source", async () => {
  await expect(openSource(5 as unknown as string)).rejects.toThrow("openSource: cannot read from number; a path, a URL, bytes, a Blob or an open file")
})
