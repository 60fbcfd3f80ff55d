/** Rows under heads, columns as wide as they need. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heads.map((h, c) => Math.max(h.length, ...rows.map((r) => r[c]!.length)))
  return [heads, ...rows].map((r) => r.map((cell, c) => cell.padEnd(widths[c]!)).join("  ").trimEnd()).join("\n")
}
