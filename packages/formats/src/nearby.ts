/** A hint for a name that is not there: those that share its last word, or some of all. */
export function nearby(name: string, names: Iterable<string>): string {
  const all = [...names], leaf = name.split(".").at(-1)!
  const found = all.filter((k) => k.includes(leaf))
  const shown = found.length > 0 ? found : all
  return `it has ${shown.slice(0, 5).join(", ")}${shown.length > 5 ? ", …" : ""}`
}
