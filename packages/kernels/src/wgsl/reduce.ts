// Sums and extremes: how a reduction is spread depends on its sizes, and on what lies side by side in memory. A result is
// joined by one thread, by a group of them, or by a workgroup; where there are few results of many values, in two passes.
import { bytesOf, expr, sizeOf, type Combine, type Expr, type ReduceKernel, type Scalar } from "@thimble/core"
import { coalesce } from "../emit/coalesce.ts"
import { entryPoint, type EmittedPass, type Entry } from "./emitted.ts"
import { asBits, beforeStore, Statements, typeName } from "./expression.ts"
import { contiguousAxis, flattened, isSmall, readsTogether } from "./lanes.ts"
import { writeModule, type ModuleWriter } from "./module.ts"
import { joinAcross, largest, products, sums, type Joining } from "./template/join.ts"
import type { Features } from "./template/holes.ts"

/** Values that one thread joins one after the other at most, where there are enough results to keep the others busy. */
const alone = 64
/** Results that keep an adapter busy with one thread each. */
const manyResults = 1 << 14
const threads = 256

export function identityText(module: ModuleWriter, combine: Combine, type: Scalar): string {
  const row = {
    add: { f32: "0f", i32: "0i", u32: "0u", bool: "false", f64: "" },
    mul: { f32: "1f", i32: "1i", u32: "1u", bool: "true", f64: "" },
    max: { f32: type === "f32" ? `${module.math("special")}(0xff800000u)` : "", i32: "bitcast<i32>(0x80000000u)", u32: "0u", bool: "false", f64: "" },
  }
  return row[combine][type]
}
export function joinText(module: ModuleWriter, combine: Combine, type: Scalar, a: string, b: string): string {
  if (combine === "max") return type === "bool" ? `(${a} | ${b})` : type === "f32" ? `${module.math("max")}(${a}, ${b})` : `max(${a}, ${b})`
  if (type === "bool") return combine === "add" ? `(${a} | ${b})` : `(${a} & ${b})`
  return `(${a} ${combine === "add" ? "+" : "*"} ${b})`
}

/** Values up to which, and results from which, a few threads to a result beat a whole workgroup. */
const forGroup = { values: 1024, results: 1 << 11 }
/** A subgroup, or a few. */
const small = 32

/** Threads that share a result, of the `threads` of a workgroup. */
type Group = 1 | typeof small | typeof threads

/** How the values of a result are shared out: `parts` shares, each joined by a group of threads. `inRows`: its values are neighbours in memory. */
function plan(results: number, count: number, inRows: boolean): { parts: number; group: Group } {
  if (count <= alone || (!inRows && results >= manyResults && count <= 4096)) return { parts: 1, group: 1 }
  if (count <= forGroup.values && results >= forGroup.results) return { parts: 1, group: small }
  // Workgroups that an adapter can keep busy at once, and values worth a workgroup.
  const parts = Math.max(1, Math.min(Math.floor(2048 / results), Math.ceil(count / 8192), 1024))
  return { parts, group: threads }
}

export function emitReduce(kernel: ReduceKernel, features: Features): { passes: EmittedPass[]; scratch: Record<string, number> } {
  const { combine } = kernel
  const { shape, outer, bodies: [body, epilogue] } = coalesce([...kernel.shape, ...kernel.over], kernel.shape.length, [kernel.body, beforeStore(kernel.epilogue, kernel.dtype)])
  const own = shape.slice(0, outer), over = shape.slice(outer)
  const results = sizeOf(own), count = sizeOf(over), { type } = body!
  const result = expr.index(0, results)
  const { parts, group } = plan(results, count, contiguousAxis(flattened([body!], [[own, result], [over, expr.index(1, count)]])[0]!, [results, count]) === 1)
  const [finish] = flattened([epilogue!], [[own, result]])

  const first = (): EmittedPass => {
    // Four neighbours at a time, where memory is read that way; a share is then a number of such groups.
    const lanesAt = (lanes: number): Expr[] => {
      const group = expr.index(1, Math.ceil(count / lanes))
      return Array.from({ length: lanes }, (_, lane) => flattened([body!], [[own, result], [over, expr.add(expr.mul(group, expr.int(lanes)), expr.int(lane))]])[0]!)
    }
    const four = count % 4 === 0 && isSmall([body!], 64) ? lanesAt(4) : undefined
    const lanes = four !== undefined && group > 1 && readsTogether(four) ? four : lanesAt(1)
    const groups = Math.ceil(count / lanes.length), each = Math.ceil(groups / parts)
    const items = results * parts
    return {
      units: unitsOf(items, group),
      ...writeModule(kernel, features, parts === 1 ? 0 : 1, (module) => {
        const outside = new Statements(module, ["result", "place"], { accumulators: ["total"] })
        outside.expect(lanes)
        hoist(outside, lanes)
        const inside = new Statements(module, ["result", "place"], { outer: outside })
        inside.expect(lanes)
        const values = lanes.map((e) => inside.variable(e))
        const joined = values.map((v, i) => `a${i} = ${joinText(module, combine, type, `a${i}`, v)};`).join("\n")
        const last = parts === 1 ? `${groups}` : `min(first + ${each}, ${groups})`
        const loop = `let result = ${parts === 1 ? "item" : `item / ${parts}`};
let first = ${parts === 1 ? "0" : `item % ${parts} * ${each}`};
${outside.lines.join("\n")}
${values.map((_, i) => `var a${i} = ${count === 0 && type === "f32" && combine === "add" ? `${module.math("special")}(0u)` : identityText(module, combine, type)};`).join("\n")}
for (var place = first${among(group)}; place < ${last}; place += ${group}) {
${inside.lines.join("\n")}
${joined}
}
let part = ${values.map((_, i) => `a${i}`).reduce((a, b) => joinText(module, combine, type, a, b))};`
        const end = parts === 1 ? writeResult(module, kernel, finish!) : `${module.scratch("partial", "u32")}[item] = ${toWord(type, "total")};`
        return text(module, { items, loop, end, combine, type, group })
      }),
    }
  }
  const second = (): EmittedPass => {
    const group = parts > alone ? threads : 1
    return {
      units: unitsOf(results, group),
      ...writeModule(kernel, features, 1, (module) => {
        const partial = module.scratch("partial", "u32")
        const loop = `let result = item;
var part = ${identityText(module, combine, type)};
for (var place = 0${among(group)}; place < ${parts}; place += ${group}) {
part = ${joinText(module, combine, type, "part", fromWord(type, `${partial}[result * ${parts} + place]`))};
}`
        return text(module, { items: results, loop, end: writeResult(module, kernel, finish!), combine, type, group })
      }),
    }
  }
  return parts === 1 ? { passes: [first()], scratch: {} } : { passes: [first(), second()], scratch: { partial: 4 * results * parts } }
}

/** Workgroups for so many shares. */
const unitsOf = (items: number, group: Group): number => Math.ceil(items / (threads / group))
/** Where a thread begins among those of its group. */
const among = (group: Group): string => (group === 1 ? "" : group === threads ? " + thread" : ` + thread % ${group}`)

interface Parts { readonly items: number; readonly loop: string; readonly end: string; readonly combine: Combine; readonly type: Scalar; readonly group: Group }

/** How threads join what each of them has: in a type that subgroups join as the alphabet does, into which and out of which values go. */
function across(module: ModuleWriter, combine: Combine, type: Scalar): { readonly how: Joining; readonly stored: string; into(v: string): string; outOf(v: string): string } {
  if (type === "bool") {
    const how: Joining = combine === "mul" ? { of: (a, b) => `${a} & ${b}`, builtin: "subgroupAnd" } : { of: (a, b) => `${a} | ${b}`, builtin: "subgroupOr" }
    return { how, stored: "u32", into: (v) => `select(0u, 1u, ${v})`, outOf: (v) => `(${v} != 0u)` }
  }
  // What becomes of NaN is left open for floats, so places in their order are compared.
  if (combine === "max" && type === "f32") return { how: largest, stored: "i32", into: (v) => `${module.math("rank")}(${v})`, outOf: (v) => `${module.math("placed")}(${v})` }
  const how = combine === "max" ? largest : combine === "add" ? sums : products
  return { how, stored: typeName(type), into: (v) => v, outOf: (v) => v }
}

/** The entry point: a loop over the values of `item` that leaves `part`, joined over a group if need be, and what happens to `total`. */
function text(module: ModuleWriter, { items, loop, end, combine, type, group }: Parts): Entry {
  const units = unitsOf(items, group)
  if (group === 1) return entryPoint({ units, threads: [threads] }, `let item = unit * ${threads} + thread;\nif (item >= ${items}) { return; }\n${loop}\nlet total = part;\n${end}`)
  const { how, stored, into, outOf } = across(module, combine, type)
  let subgroups = false
  const enable = (extension: string): void => {
    subgroups ||= extension === "subgroups"
    module.enable(extension)
  }
  const joined = joinAcross({ enable }, module.features, { variables: ["joined"], group, threads, how, name: "joins", type: stored })
  const perUnit = threads / group, whole = items % perUnit === 0
  // All threads come to the joining; those past the end do somebody else's share.
  const own = perUnit === 1 ? "unit" : `unit * ${perUnit} + thread / ${group}`
  const body = `let item = ${whole ? own : `min(${own}, ${items - 1})`};
${loop}
var joined = ${into("part")};
${joined.text}
if (thread % ${group} == 0${whole ? "" : ` && ${own} < ${items}`}) {
let total = ${outOf("joined")};
${end}
}`
  return entryPoint({ units, threads: [threads] }, body, { subgroups, declarations: joined.declarations })
}

/** Values that do not change within the loop are computed before it. */
function hoist(w: Statements, roots: readonly Expr[]): void {
  const varies = new Map<Expr, boolean>()
  const visit = (e: Expr): boolean => {
    let known = varies.get(e)
    if (known !== undefined) return known
    known = e.op === "index" && e.value === 1
    for (const s of e.src) known = visit(s) || known
    varies.set(e, known)
    return known
  }
  const declare = (e: Expr): void => {
    if (e.src.length > 0 && !visit(e)) w.value(e)
    else e.src.forEach(declare)
  }
  for (const r of roots) {
    visit(r)
    declare(r)
  }
}

/** Statements that finish and store the element `result`. */
function writeResult(module: ModuleWriter, { dtype }: ReduceKernel, epilogue: Expr): string {
  const w = new Statements(module, ["result"], { accumulators: ["total"] })
  w.expect([epilogue])
  const bits = asBits(module, dtype, w.variable(epilogue))
  const bytes = bytesOf(dtype)
  const write = bytes === 4 ? module.writeWord("result", bits)
    : module.writePart("result", bits, bytes)
  return `${w.lines.join("\n")}\n${write}`
}

const toWord = (type: Scalar, value: string): string => (type === "u32" ? value : type === "bool" ? `select(0u, 1u, ${value})` : `bitcast<u32>(${value})`)
const fromWord = (type: Scalar, value: string): string => (type === "u32" ? value : type === "bool" ? `(${value} != 0u)` : `bitcast<${type}>(${value})`)
