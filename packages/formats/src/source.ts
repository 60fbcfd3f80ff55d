import { fail } from "@thimble/core"
import { fileSystem } from "./file-system.ts"

/** Bytes that are read in pieces, so that a large file never has to fit in memory. */
export interface Source extends AsyncDisposable {
  /** What errors call it. */
  readonly name: string
  readonly bytes: number
  /** The bytes begin … end-1; a view where they are in memory anyway. */
  read(begin: number, end: number): Promise<Uint8Array>
  close(): Promise<void>
}

/** A path (where there is a file system), bytes in memory, or a Blob (a File of a browser's input, an answer of fetch). */
export type SourceLike = string | URL | Uint8Array | Blob

export async function openSource(from: SourceLike): Promise<Source> {
  if (from instanceof Uint8Array) return source("bytes", from.byteLength, (begin, end) => Promise.resolve(from.subarray(begin, end)))
  if (from instanceof Blob) {
    const name = "name" in from && typeof from.name === "string" ? from.name : "blob"
    return source(name, from.size, async (begin, end) => new Uint8Array(await from.slice(begin, end).arrayBuffer()))
  }
  return openFile(from)
}

async function openFile(path: string | URL): Promise<Source> {
  const { open } = await fileSystem("openSource")
  const name = String(path)
  const file = await open(path, "r")
  const read = async (begin: number, end: number): Promise<Uint8Array> => {
    const into = new Uint8Array(end - begin)
    // One read may give less than was asked for.
    for (let done = 0; done < into.length;) {
      const { bytesRead } = await file.read(into, done, Math.min(into.length - done, 2 ** 30), begin + done)
      if (bytesRead === 0) fail("format", "read", `${name}: ended at byte ${begin + done}, before ${end}`, "it became shorter while it was read?")
      done += bytesRead
    }
    return into
  }
  const { size } = await file.stat()
  return source(name, size, read, () => file.close())
}

function source(name: string, bytes: number, read: Source["read"], close: () => Promise<void> = () => Promise.resolve()): Source {
  return { name, bytes, read, close, [Symbol.asyncDispose]: close }
}
