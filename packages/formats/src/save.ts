import { ThimbleError } from "@thimble/core"
import { fileSystem } from "./file-system.ts"

/** Writes a file piece by piece; it appears under its name when it is complete. */
export async function saveFile(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const { rename, rm, writeFile } = await fileSystem("saveFile")
  const partial = `${path}.partial`
  try {
    await writeFile(partial, pieces)
    await rename(partial, path)
  } catch (e) {
    // What cannot be written cannot always be removed, and that is not what went wrong.
    await rm(partial, { force: true }).catch(() => {})
    throw refused(path, e)
  }
}

const remedies: Readonly<Record<string, string>> = { ENOSPC: "make room, and start again", EDQUOT: "make room, and start again", EACCES: "may this process write there?", EROFS: "choose another place", ENOENT: "make the directory first", ENOTDIR: "a part of the path is a file" }
/** What the file system says, with the file's name; anything else as it is. */
function refused(path: string, e: unknown): unknown {
  const { code, message } = e as NodeJS.ErrnoException
  if (!(e instanceof Error) || code === undefined || !/^E[A-Z]+$/.test(code)) return e
  return Object.assign(new ThimbleError("file", "saveFile", `${path}: ${message}`, remedies[code]), { cause: e })
}
