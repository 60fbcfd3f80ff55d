import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { join, relative } from "node:path"
import { afterAll, beforeAll, describe, test, vi } from "vitest"
import { referenceDevice, useDevice } from "@thimble/core"

// Every TypeScript block of the guides and the README runs as written, with `assert` at hand.
const root = join(import.meta.dirname, "..")
const pages = [...readdirSync(root).filter((f) => f.endsWith(".md")).map((f) => join(root, f)), join(root, "..", "README.md")]
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(import.meta.dirname, ".blocks-"))
  vi.spyOn(console, "log").mockImplementation(() => {})
  Object.assign(globalThis, { assert })
})
afterAll(() => rm(folder, { recursive: true }))

describe.each(pages.map((p) => [relative(join(root, ".."), p), p]))("%s", (_name, page) => {
  const blocks = [...readFileSync(page, "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map((m) => m[1]!)
  if (blocks.length === 0) test("has no code", () => {})
  blocks.forEach((code, i) =>
    test(`block ${i + 1}`, async () => {
      const file = join(folder, `${page.split("/").at(-1)!.replace(".md", "")}-${i + 1}.ts`)
      await writeFile(file, code)
      useDevice(referenceDevice())
      await import(file)
    }),
  )
})
