import { fail } from "@thimble/core"
import { source, type Source } from "./source.ts"

export interface HttpOptions {
  /** Sent with every request over http(s): authorization, say. */
  readonly headers?: Readonly<Record<string, string>>
  /** Ends requests over http(s). */
  readonly signal?: AbortSignal
}

/** What the first request asks for: enough for most headers. */
const firstBytes = 1 << 16

/**
 * A file behind a URL, read by range requests. The beginning is kept, so that headers cost one request; a server that
 * has no ranges sends the whole file, which is then kept in memory.
 */
export async function openHttp(url: string, { headers = {}, signal }: HttpOptions): Promise<Source> {
  const ask = async (begin: number, end: number, more: Record<string, string> = {}): Promise<Response> => {
    const answer = await fetch(url, { headers: { ...headers, ...more, Range: `bytes=${begin}-${end - 1}` }, ...(signal && { signal }) })
    // An empty file has no first byte.
    if (!answer.ok && answer.status !== 416) fail("format", "read", `${url}: the server answers ${answer.status} ${answer.statusText}`.trimEnd(), answer.status === 401 || answer.status === 403 ? "does it want headers?" : undefined)
    return answer
  }
  const first = await ask(0, firstBytes)
  const head = new Uint8Array(await first.arrayBuffer())
  const read = (begin: number, end: number): Promise<Uint8Array> => Promise.resolve(head.subarray(begin, end))
  if (first.status === 416) return source(url, 0, () => Promise.resolve(new Uint8Array(0)))
  if (first.status !== 206) return source(url, head.length, read)
  const total = Number(/\/(\d+)$/.exec(first.headers.get("content-range") ?? "")?.[1] ?? NaN)
  if (!Number.isSafeInteger(total)) fail("format", "read", `${url}: the server does not tell how long the file is (content-range: ${first.headers.get("content-range") ?? "none"})`)
  if (head.length !== Math.min(firstBytes, total)) fail("format", "read", `${url}: asked for ${Math.min(firstBytes, total)} bytes, got ${head.length}`)
  const tag = first.headers.get("etag")
  // A weak tag does not tell apart what ranges need told apart.
  const same: Record<string, string> = tag !== null && !tag.startsWith("W/") ? { "If-Match": tag } : {}
  return source(url, total, async (begin, end) => {
    if (end <= head.length) return read(begin, end)
    if (end <= begin) return new Uint8Array(0)
    const answer = await ask(begin, end, same)
    const bytes = new Uint8Array(await answer.arrayBuffer())
    if (answer.status !== 206 || bytes.length !== end - begin) fail("format", "read", `${url}: asked for the bytes ${begin} … ${end}, got ${bytes.length} (status ${answer.status})`, "did the file change?")
    return bytes
  })
}
