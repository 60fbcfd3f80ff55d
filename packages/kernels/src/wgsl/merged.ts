// Several dispatches in one: the workgroups of one module after those of another. What they declare is told apart by
// the number of the module; workgroup memory they share, since no workgroup runs two of them.
import { gridWidth, moduleText, type EmittedPass, type ModuleText } from "./emitted.ts"
import type { Features } from "./template/holes.ts"

/** Dispatches that are joined at most: more only make the text longer. */
const mostParts = 8
/** Workgroups of a dispatch from which starting it costs nothing beside what it does. */
const manyUnits = 1024
/** Rows of arguments that one binding holds. */
const mostRows = 64

export interface MergedPass {
  readonly code: string
  readonly bindings: readonly { readonly writes: boolean }[]
  readonly readsArguments: boolean
  readonly units: number
  /** The row of arguments at which each part's begin; undefined where it reads none. */
  readonly rows: readonly (number | undefined)[]
}

/** Whether a pass may share a dispatch with another. */
const joins = ({ units, text: { extensions } }: EmittedPass): boolean => units <= manyUnits && !extensions.some((e) => e.includes("matrix"))

/** Numbers of passes that share a dispatch: all are independent of each other, and each is in one list. */
export function shareOut(passes: readonly EmittedPass[], features: Features): number[][] {
  const lists: { numbers: number[]; texts: ModuleText[]; units: number }[] = []
  passes.forEach((pass, i) => {
    const list = joins(pass) ? lists.find(({ numbers, texts, units }) => {
      const all = [...texts, pass.text]
      return numbers.length < mostParts && joins(passes[numbers[0]!]!) && units + pass.units <= gridWidth && `${texts[0]!.entry.threads}` === `${pass.text.entry.threads}`
        && total(all, (t) => t.storage.length) <= features.bindings && total(all, (t) => t.argumentRows) <= mostRows && sharedBytes(all) <= features.sharedBytes
    }) : undefined
    if (list === undefined) lists.push({ numbers: [i], texts: [pass.text], units: pass.units })
    else {
      list.numbers.push(i)
      list.texts.push(pass.text)
      list.units += pass.units
    }
  })
  return lists.map((l) => l.numbers)
}
const total = <T>(all: readonly T[], of: (one: T) => number): number => all.reduce((n, one) => n + of(one), 0)

const workgroupVariable = /var<workgroup> (\w+): ([^;]+);\n?/g
/** Types of the workgroup variables that these modules need, each as often as one of them declares it. */
function workgroupTypes(texts: readonly ModuleText[]): Map<string, number> {
  const most = new Map<string, number>()
  for (const { entry } of texts) {
    const own = new Map<string, number>()
    for (const [, , type] of entry.declarations.matchAll(workgroupVariable)) own.set(type!, (own.get(type!) ?? 0) + 1)
    for (const [type, n] of own) most.set(type, Math.max(most.get(type) ?? 0, n))
  }
  return most
}
const scalarBytes: Readonly<Record<string, number>> = { f32: 4, i32: 4, u32: 4, f16: 2 }
function bytesOfType(type: string): number {
  const array = /^array<(.+), (\d+)>$/.exec(type), inner = /^(?:vec(\d)|atomic)<(\w+)>$/.exec(type)
  if (array !== null) return Number(array[2]) * bytesOfType(array[1]!)
  if (inner !== null) return (inner[1] === undefined ? 1 : inner[1] === "2" ? 2 : 4) * (scalarBytes[inner[2]!] ?? Infinity)
  return scalarBytes[type] ?? Infinity
}
/** Bytes of workgroup memory of the joined module; infinite where a type is not known. */
const sharedBytes = (texts: readonly ModuleText[]): number => [...workgroupTypes(texts)].reduce((n, [type, count]) => n + count * bytesOfType(type), 0)

const declared = /^(?:fn|struct|const|alias) (\w+)/gm
/** A module's functions and body with its names made its own. */
function renamed({ storage, functions, entry }: ModuleText, part: number, row: number): { functions: string; body: string } {
  const names = new Map<string, string>(), counts = new Map<string, number>()
  for (const { name } of storage) names.set(name, `${name}_of${part}`)
  const others = entry.declarations.replaceAll(workgroupVariable, (_, name: string, type: string) => {
    const n = counts.get(type) ?? 0
    counts.set(type, n + 1)
    names.set(name, variableName(type, n))
    return ""
  })
  for (const text of [functions, others]) for (const [, name] of text.matchAll(declared)) names.set(name!, `${name}_of${part}`)
  const pattern = names.size === 0 ? undefined : new RegExp(`(?<![\\w.])(?:${[...names.keys()].join("|")})(?!\\w)`, "g")
  const own = (text: string): string => {
    const told = pattern === undefined ? text : text.replaceAll(pattern, (name) => names.get(name)!)
    return row === 0 ? told : told.replaceAll(/\barguments\[(\d+)\]/g, (_, at: string) => `arguments[${Number(at) + row}]`)
  }
  return { functions: own([functions, others].filter((t) => t.trim() !== "").join("\n")), body: own(entry.body) }
}
const variableName = (type: string, n: number): string => `shared_${type.replaceAll(/\W+/g, "_")}${n}`

/** The dispatch that does what all of `passes` do. */
export function mergedPass(passes: readonly EmittedPass[]): MergedPass {
  const texts = passes.map((p) => p.text)
  const rows: number[] = [], ends: number[] = []
  let row = 0, units = 0
  for (const { units: own, text } of passes) {
    rows.push(row)
    row += text.argumentRows
    ends.push((units += own))
  }
  const subgroups = texts.some((t) => t.entry.subgroups)
  const parts = texts.map((t, i) => renamed(t, i, rows[i]!))
  const inputs = ["unit", "thread", "local", ...(subgroups ? ["lane", "subgroupSize"] : [])]
  const types: Readonly<Record<string, string>> = { local: "vec3<u32>" }
  const called = parts.map((_, i) => `part${i}(${inputs.map((name) => (name === "unit" && i > 0 ? `unit - ${ends[i - 1]!}` : name)).join(", ")});`)
  const choice = called.map((call, i) => (i === 0 ? `if (unit < ${ends[i]!}) { ${call} }` : i < called.length - 1 ? `else if (unit < ${ends[i]!}) { ${call} }` : `else { ${call} }`)).join("\n")
  const code = moduleText({
    extensions: [...new Set(texts.flatMap((t) => t.extensions))],
    storage: texts.flatMap((t, i) => t.storage.map((s) => ({ ...s, name: `${s.name}_of${i}` }))),
    argumentRows: row,
    functions: [
      ...[...workgroupTypes(texts)].flatMap(([type, count]) => Array.from({ length: count }, (_, n) => `var<workgroup> ${variableName(type, n)}: ${type};`)),
      ...parts.map(({ functions, body }, i) => `${functions}\nfn part${i}(${inputs.map((name) => `${name}: ${types[name] ?? "i32"}`).join(", ")}) {\n${body}\n}`),
    ].join("\n"),
    entry: { units, threads: texts[0]!.entry.threads, subgroups, declarations: "", body: choice },
  })
  return { code, bindings: passes.flatMap((p) => p.bindings), readsArguments: row > 0, units, rows: texts.map((t, i) => (t.argumentRows === 0 ? undefined : rows[i]!)) }
}
