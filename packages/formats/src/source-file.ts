import { fail } from "@thimble/core"
import { fileSystem } from "./file-system.ts"
import { source, type Source } from "./source.ts"

/** What is needed of an open file: Node's `FileHandle` has it. */
export interface FileHandleLike {
  stat(): Promise<{ readonly size: number }>
  read(into: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }>
}

export async function openFile(path: string | URL): Promise<Source> {
  const { open } = await fileSystem("open")
  const file = await open(path, "r")
  try {
    const own = await openHandle(file, String(path))
    return source(own.name, own.bytes, own.read, () => file.close())
  } catch (e) {
    await file.close()
    throw e
  }
}

/** Reads from a file that the caller opened, and closes. */
export async function openHandle(file: FileHandleLike, name = "file"): Promise<Source> {
  const { size } = await file.stat()
  return source(name, size, async (begin, end, room) => {
    const into = room !== undefined && room.length >= end - begin ? room.subarray(0, end - begin) : new Uint8Array(end - begin)
    // One read may give less than was asked for.
    for (let done = 0; done < into.length;) {
      const { bytesRead } = await file.read(into, done, Math.min(into.length - done, 2 ** 30), begin + done)
      if (bytesRead === 0) fail("format", "read", `${name}: ended at byte ${begin + done}, before ${end}`, "it became shorter while it was read?")
      done += bytesRead
    }
    return into
  })
}
