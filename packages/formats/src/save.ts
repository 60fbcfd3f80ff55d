import { fileSystem } from "./file-system.ts"

/** Writes a file piece by piece; it appears under its name when it is complete. */
export async function saveFile(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const { rename, rm, writeFile } = await fileSystem("saveFile")
  const partial = `${path}.partial`
  try {
    await writeFile(partial, pieces)
    await rename(partial, path)
  } catch (e) {
    await rm(partial, { force: true })
    throw e
  }
}
