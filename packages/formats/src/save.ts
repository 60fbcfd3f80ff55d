/** Writes a file piece by piece; it appears under its name when it is complete. */
export async function saveFile(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  const { rename, rm, writeFile } = await import("node:fs/promises")
  const partial = `${path}.partial`
  try {
    await writeFile(partial, pieces)
    await rename(partial, path)
  } catch (e) {
    await rm(partial, { force: true })
    throw e
  }
}
