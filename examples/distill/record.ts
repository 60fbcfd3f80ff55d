import { readFile, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"

/** A claim, whether what was measured bears it out, and the numbers that say so. */
export interface Check { readonly claim: string; readonly holds: boolean; readonly found: string }

/** Claims as a table. */
export const checksTable = (checks: readonly Check[]): string =>
  `| claim | measured | holds |\n|---|---|---|\n${checks.map(({ claim, found, holds }) => `| ${claim} | ${found} | ${holds ? "yes" : "**no**"} |`).join("\n")}\n`
/** Prints claims, a line each. */
export function printChecks(checks: readonly Check[]): void {
  for (const { claim, found, holds } of checks) console.log(`${holds ? "yes" : "NO "}  ${claim}: ${found}`)
}

/** Where a run writes what it measured: a page, and the numbers beside it. */
export const page = fileURLToPath(new URL("../../docs/distillation.md", import.meta.url))
const numbersOf = (path: string): string => path.replace(/\.md$/, ".json")

/** What was measured before, of one section of a page. */
export async function recorded<T>(path: string, section: string): Promise<T | undefined> {
  const all = await readFile(numbersOf(path), "utf8").then((t) => JSON.parse(t) as Record<string, T>, () => ({}) as Record<string, T>)
  return all[section]
}

/** Replaces one section of a page, which stands between two comments, and its numbers. */
export async function record(path: string, section: string, numbers: unknown, text: string): Promise<void> {
  const json = numbersOf(path), all = await readFile(json, "utf8").then((t) => JSON.parse(t) as Record<string, unknown>, () => ({}))
  await writeFile(json, `${JSON.stringify({ ...all, [section]: numbers }, undefined, 1)}\n`)
  const [begin, end] = [`<!-- ${section}: written by its command -->\n`, `<!-- ${section}: end -->\n`], whole = await readFile(path, "utf8").catch(() => "")
  const from = whole.indexOf(begin), to = whole.indexOf(end)
  const written = `${begin}\n${text.trim()}\n\n${end}`
  await writeFile(path, from < 0 || to < from ? `${whole}${whole === "" ? "" : "\n"}${written}` : whole.slice(0, from) + written + whole.slice(to + end.length))
}
