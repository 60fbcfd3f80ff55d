import type { Model } from "@thimble/models"
import type { Calibration } from "./calibration.ts"
import { outlineOf, outlineSize } from "./outline.ts"
import { table } from "./print.ts"
import type { ReportEntry } from "./stage.ts"

/** What a job did. Plain data but for `toString`, so it can be stored as JSON. */
export interface Report {
  readonly entries: readonly ReportEntry[]
  readonly bytesBefore: number
  readonly bytesAfter: number
  /** Stored bits by element of all matrices. */
  readonly bitsPerWeight: number
  /** What it was calibrated with; null where no data was needed. */
  readonly calibration: { readonly hash: string; readonly tokens: number } | null
  readonly seconds: number
  toString(): string
}

export function reportOf(before: Model, after: Model, entries: readonly ReportEntry[], data: Calibration | undefined, seconds: number): Report {
  const size = Math.max(1, outlineSize(outlineOf(after))), matrixBytes = Object.values(after.weights).reduce((n, w) => n + w.bytes, 0)
  const facts = { entries, bytesBefore: before.bytes, bytesAfter: after.bytes, bitsPerWeight: (8 * matrixBytes) / size, calibration: data === undefined ? null : { hash: data.hash, tokens: data.tokens }, seconds }
  const percent = (x: number | undefined): string => (x === undefined ? "" : `${(100 * x).toPrecision(3)} %`)
  const print = (): string => {
    const rows = entries.map((e) => [e.path, e.method, e.to, `${e.bytesAfter}${e.zeros !== undefined && e.bytesAfter >= e.bytesBefore ? ", no saving" : ""}`, percent(e.zeros), percent(e.weightError), percent(e.outputError), e.fallbacks.map((f) => f.kind).join(", "), e.seconds.toFixed(2)])
    return `${table(["matrix", "method", "stored as", "bytes", "zeros", "weight error", "output error", "fallbacks", "seconds"], rows)}\n\n${facts.bytesBefore} → ${facts.bytesAfter} bytes (${(facts.bytesBefore / facts.bytesAfter).toFixed(2)} × smaller), ${facts.bitsPerWeight.toFixed(3)} bits per weight, ${seconds.toFixed(1)} s`
  }
  // JSON has no use for what prints.
  return Object.defineProperties(facts, { toString: { value: print, enumerable: false }, [Symbol.for("nodejs.util.inspect.custom")]: { value: print, enumerable: false } }) as Report
}
