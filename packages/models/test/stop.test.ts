import fc from "fast-check"
import { expect, test } from "vitest"
import { stopFilter } from "../src/generate/stop.ts"

const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 4 })
const pieces = fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 5 }), { maxLength: 12 })

/** What passes, piece by piece. */
function run(stops: readonly string[], parts: readonly string[]): { out: string[]; found: string | undefined } {
  const filter = stopFilter("generate", stops)
  const out = parts.map((p) => filter.push(p))
  if (filter.found === undefined) out.push(filter.end())
  return { out, found: filter.found }
}

/** Where the first stop string to be complete begins, and the longest that ends there. */
function expected(text: string, stops: readonly string[]): { text: string; found: string | undefined } {
  for (let end = 1; end <= text.length; end++) {
    const [found] = stops.filter((s) => text.slice(0, end).endsWith(s)).sort((a, b) => b.length - a.length)
    if (found !== undefined) return { text: text.slice(0, end - found.length), found }
  }
  return { text, found: undefined }
}

test("text passes up to the stop string that is complete first, however it is cut into pieces", () => {
  fc.assert(fc.property(fc.array(word, { maxLength: 4 }), pieces, (stops, parts) => {
    const { out, found } = run(stops, parts)
    expect({ text: out.join(""), found }).toEqual(expected(parts.join(""), stops))
  }), { numRuns: 1000 })
})
test("only what could begin a stop string is held back", () => {
  fc.assert(fc.property(fc.array(word, { maxLength: 4 }), pieces, (stops, parts) => {
    const filter = stopFilter("generate", stops)
    let seen = "", given = ""
    for (const p of parts) {
      seen += p
      given += filter.push(p)
      if (filter.found !== undefined) return
      const held = seen.slice(given.length)
      expect(held === "" || stops.some((s) => s.startsWith(held))).toBe(true)
    }
  }), { numRuns: 1000 })
})
test("a stop string across three pieces is never given out, a false start is", () => {
  expect(run(["</s>"], ["one <", "/", "s> two"])).toEqual({ out: ["one ", "", ""], found: "</s>" })
  expect(run(["</s>"], ["one <", "/", "b>"])).toEqual({ out: ["one ", "", "</b>", ""], found: undefined })
})
test("an empty stop string is refused", () => {
  expect(() => stopFilter("generate", [""])).toThrow('generate: stop strings must not be empty, got ""')
})
