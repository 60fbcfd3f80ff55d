import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { table } from "../src/devices.ts"
import { supportPage } from "../src/support-page.ts"

test("docs/support.md is what the tables say; `pnpm --filter @thimble/conformance support` writes it", () => {
  expect(readFileSync(new URL("../../../docs/support.md", import.meta.url), "utf8")).toBe(supportPage(table))
})
test("the page names what a device does not run, and why", () => {
  const page = supportPage([{ name: "all", tried: { Node: "ops" } }, { name: "some", tried: { Node: "everything", pages: "kernels" }, f64: false, skips: { "mul.6": "too small" }, unsupported: { add: "it cannot add" } }])
  expect(page).toContain("| `some` | everything | kernels | no f64: an op of it throws; tensors of it are stored and moved; recorded values `mul.6` are skipped: too small |")
  expect(page).toContain("| `add` | same bits | twice | yes | no: it cannot add |")
  expect(page).toContain("| `mul` | same bits | twice | yes | yes |")
})
