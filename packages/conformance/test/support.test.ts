import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { rows } from "../src/table/index.ts"

test("docs/support.md has every op; `pnpm --filter @thimble/conformance support` writes it", () => {
  const page = readFileSync(new URL("../../../docs/support.md", import.meta.url), "utf8")
  expect(rows.map(([name]) => name).filter((name) => !page.includes(`| \`${name}\` |`))).toEqual([])
})
