import Table from "cli-table3"
import type { Row } from "./measure.ts"

const columns: readonly { readonly title: string; readonly of: (row: Row) => string }[] = [
  { title: "weights", of: (r) => r.name },
  { title: "bits/weight", of: (r) => r.bits.toFixed(2) },
  { title: "bytes", of: (r) => r.bytes.toLocaleString("en") },
  { title: "perplexity", of: (r) => r.perplexity.toFixed(4) },
  { title: "KL divergence", of: (r) => r.divergence.toFixed(6) },
  { title: "same top", of: (r) => `${(100 * r.agreement).toFixed(1)} %` },
  { title: "tokens/s", of: (r) => r.tokensPerSecond.toFixed(0) },
]

/** The rows as text; without speeds it is the same wherever the same steps were made. */
export function table(rows: readonly Row[], speeds = true): string {
  const shown = speeds ? columns : columns.slice(0, -1)
  const t = new Table({ head: shown.map((c) => c.title), colAligns: shown.map((_, i) => (i === 0 ? "left" : "right")), style: { head: [], border: [] } })
  for (const r of rows) t.push(shown.map((c) => c.of(r)))
  return t.toString()
}
