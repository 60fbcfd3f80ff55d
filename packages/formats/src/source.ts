import { fail } from "@thimble/core"
import { openFile, openHandle, type FileHandleLike } from "./source-file.ts"
import { openHttp, type HttpOptions } from "./source-http.ts"

/** Bytes that are read in pieces, so that a large file never has to fit in memory. */
export interface Source extends AsyncDisposable {
  /** What errors call it. */
  readonly name: string
  readonly bytes: number
  /** The bytes begin … end-1: a view where they are in memory anyway; else, if `into` is given, they may be at its beginning. */
  read(begin: number, end: number, into?: Uint8Array<ArrayBuffer>): Promise<Uint8Array>
  close(): Promise<void>
}

/**
 * Where bytes may come from: a path or file URL (where there is a file system), an open file of Node's (left open), an
 * http(s) URL (read by ranges), bytes in memory, a Blob (a File of a browser's input), or a source of one's own.
 */
export type SourceLike = string | URL | Uint8Array | ArrayBuffer | Blob | FileHandleLike | Source

export type SourceOptions = HttpOptions

/** Opens whatever {@link SourceLike} names. A string is a path, unless it begins with `http://` or `https://`. */
export async function openSource(from: SourceLike, options: SourceOptions = {}): Promise<Source> {
  if (from instanceof Uint8Array) {
    // Node's Buffer is one whose slice() shares its memory.
    const plain = new Uint8Array(from.buffer, from.byteOffset, from.byteLength)
    return source("bytes", from.byteLength, (begin, end) => Promise.resolve(plain.subarray(begin, end)))
  }
  if (from instanceof ArrayBuffer) return openSource(new Uint8Array(from))
  if (from instanceof Blob) {
    const name = "name" in from && typeof from.name === "string" ? from.name : "blob"
    return source(name, from.size, async (begin, end) => new Uint8Array(await from.slice(begin, end).arrayBuffer()))
  }
  if (typeof from === "string" || from instanceof URL) return /^https?:\/\//i.test(String(from)) ? openHttp(String(from), options) : openFile(from)
  if (typeof from !== "object" || from === null) return fail("value", "openSource", `cannot read from ${from === null ? "null" : typeof from}`, "a path, a URL, bytes, a Blob or an open file")
  if ("stat" in from) return openHandle(from)
  return from
}

export function source(name: string, bytes: number, read: Source["read"], close: () => Promise<void> = () => Promise.resolve()): Source {
  return { name, bytes, read, close, [Symbol.asyncDispose]: close }
}
