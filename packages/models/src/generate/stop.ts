import { fail } from "@thimble/core"

/** Text that passes until a stop string completes. */
export interface StopFilter {
  /** What may be given out now that `text` has come; what could be the beginning of a stop string is held back. */
  push(text: string): string
  /** What was held back, when no more text comes. */
  end(): string
  /** The stop string that was found; from then on nothing passes. */
  readonly found: string | undefined
}

/**
 * Ends a text before the stop string that is complete first (of several that end at one place, the longest). Where text
 * is cut into pieces makes no difference.
 */
export function stopFilter(op: string, stops: readonly string[]): StopFilter {
  for (const s of stops) if (typeof s !== "string" || s === "") fail("value", op, `stop strings must not be empty, got ${s === "" ? '""' : typeof s}`)
  let held = "", found: string | undefined
  return {
    get found() { return found },
    push(text) {
      if (found !== undefined) return ""
      held += text
      let end = Infinity
      for (const s of stops) {
        const at = held.indexOf(s), to = at < 0 ? Infinity : at + s.length
        if (to > end || to === Infinity || (to === end && s.length < found!.length)) continue
        end = to
        found = s
      }
      const passed = found === undefined ? held.length - longestBeginning(held, stops) : end - found.length
      const out = held.slice(0, passed)
      held = found === undefined ? held.slice(passed) : ""
      return out
    },
    end() {
      const out = held
      held = ""
      return out
    },
  }
}

/** Length of the longest end of a text that a stop string begins with. */
function longestBeginning(text: string, stops: readonly string[]): number {
  let longest = 0
  for (const s of stops)
    for (let n = Math.min(s.length - 1, text.length); n > longest; n--)
      if (text.endsWith(s.slice(0, n))) longest = n
  return longest
}
