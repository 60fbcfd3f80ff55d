// Sums and extremes: how a reduction is spread depends on its sizes alone. A result is joined by one thread, or by a
// workgroup; where there are few results of many values, in two passes.
import { bytesOf, expr, sizeOf, type Combine, type Expr, type ReduceKernel, type Scalar } from "@thimble/core"
import { coalesce } from "../emit/coalesce.ts"
import { entryPoint, type EmittedPass, type Entry } from "./emitted.ts"
import { asBits, beforeStore, Statements, typeName } from "./expression.ts"
import { flattened, isSmall, readsTogether } from "./lanes.ts"
import { writeModule, type ModuleWriter } from "./module.ts"
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

/** How the values of a result are shared out: `parts` shares, each joined by `wide` threads. */
function plan(results: number, count: number): { parts: number; wide: 1 | typeof threads } {
  if (count <= alone || (results >= manyResults && count <= 4096)) return { parts: 1, wide: 1 }
  // Workgroups that an adapter can keep busy at once, and values worth a workgroup.
  const parts = Math.max(1, Math.min(Math.floor(2048 / results), Math.ceil(count / 8192), 1024))
  return { parts, wide: threads }
}

export function emitReduce(kernel: ReduceKernel, features: Features): { passes: EmittedPass[]; scratch: Record<string, number> } {
  const { combine } = kernel
  const { shape, outer, bodies: [body, epilogue] } = coalesce([...kernel.shape, ...kernel.over], kernel.shape.length, [kernel.body, beforeStore(kernel.epilogue, kernel.dtype)])
  const own = shape.slice(0, outer), over = shape.slice(outer)
  const results = sizeOf(own), count = sizeOf(over), { type } = body!
  const { parts, wide } = plan(results, count)
  const result = expr.index(0, results)
  const [finish] = flattened([epilogue!], [[own, result]])

  const first = (): EmittedPass => {
    // Four neighbours at a time, where memory is read that way; a share is then a number of such groups.
    const lanesAt = (lanes: number): Expr[] => {
      const group = expr.index(1, Math.ceil(count / lanes))
      return Array.from({ length: lanes }, (_, lane) => flattened([body!], [[own, result], [over, expr.add(expr.mul(group, expr.int(lanes)), expr.int(lane))]])[0]!)
    }
    const four = count % 4 === 0 && isSmall([body!], 64) ? lanesAt(4) : undefined
    const lanes = four !== undefined && wide > 1 && readsTogether(four) ? four : lanesAt(1)
    const groups = Math.ceil(count / lanes.length), each = Math.ceil(groups / parts)
    const items = results * parts, units = wide === 1 ? Math.ceil(items / threads) : items
    return {
      units,
      ...writeModule(kernel, features, parts === 1 ? 0 : 1, (module) => {
        const outside = new Statements(module, ["result", "place"], { accumulator: "total" })
        outside.expect(lanes)
        hoist(outside, lanes)
        const inside = new Statements(module, ["result", "place"], { outer: outside })
        inside.expect(lanes)
        const values = lanes.map((e) => inside.variable(e))
        const joined = values.map((v, i) => `a${i} = ${joinText(module, combine, type, `a${i}`, v)};`).join("\n")
        const item = wide === 1 ? `let item = unit * ${threads} + thread;\nif (item >= ${items}) { return; }` : "let item = unit;"
        const last = parts === 1 ? `${groups}` : `min(first + ${each}, ${groups})`
        const loop = `let result = ${parts === 1 ? "item" : `item / ${parts}`};
let first = ${parts === 1 ? "0" : `item % ${parts} * ${each}`};
${outside.lines.join("\n")}
${values.map((_, i) => `var a${i} = ${count === 0 && type === "f32" && combine === "add" ? `${module.math("special")}(0u)` : identityText(module, combine, type)};`).join("\n")}
for (var place = first${wide === 1 ? "" : " + thread"}; place < ${last}; place += ${wide}) {
${inside.lines.join("\n")}
${joined}
}
let part = ${values.map((_, i) => `a${i}`).reduce((a, b) => joinText(module, combine, type, a, b))};`
        const end = parts === 1 ? writeResult(module, kernel, finish!) : `${module.scratch("partial", "u32")}[item] = ${toWord(type, "total")};`
        return text(module, { units, item, loop, end, combine, type, wide })
      }),
    }
  }
  const second = (): EmittedPass => {
    const joinsWide = parts > alone ? threads : 1, units = joinsWide === 1 ? Math.ceil(results / threads) : results
    return {
      units,
      ...writeModule(kernel, features, 1, (module) => {
        const partial = module.scratch("partial", "u32")
        const item = joinsWide === 1 ? `let item = unit * ${threads} + thread;\nif (item >= ${results}) { return; }` : "let item = unit;"
        const loop = `let result = item;
var part = ${identityText(module, combine, type)};
for (var place = ${joinsWide === 1 ? "0" : "thread"}; place < ${parts}; place += ${joinsWide}) {
part = ${joinText(module, combine, type, "part", fromWord(type, `${partial}[result * ${parts} + place]`))};
}`
        return text(module, { units, item, loop, end: writeResult(module, kernel, finish!), combine, type, wide: joinsWide })
      }),
    }
  }
  return parts === 1 ? { passes: [first()], scratch: {} } : { passes: [first(), second()], scratch: { partial: 4 * results * parts } }
}

interface Parts { readonly units: number; readonly item: string; readonly loop: string; readonly end: string; readonly combine: Combine; readonly type: Scalar; readonly wide: number }

/** The entry point: a loop that leaves `part`, joined over the workgroup if need be, and what happens to `total`. */
function text(module: ModuleWriter, { units, item, loop, end, combine, type, wide }: Parts): Entry {
  if (wide === 1) return entryPoint({ units, threads: [threads] }, `${item}\n${loop}\nlet total = part;\n${end}`)
  const stored = type === "bool" ? "u32" : typeName(type)
  const read = (at: string): string => (type === "bool" ? `(shared_[${at}] != 0u)` : `shared_[${at}]`)
  const write = (v: string): string => (type === "bool" ? `select(0u, 1u, ${v})` : v)
  const body = `${item}
${loop}
shared_[thread] = ${write("part")};
for (var half = ${wide / 2}; half > 0; half = half / 2) {
workgroupBarrier();
if (thread < half) { shared_[thread] = ${write(joinText(module, combine, type, read("thread"), read("thread + half")))}; }
}
if (thread == 0) {
let total = ${read("0")};
${end}
}`
  return entryPoint({ units, threads: [threads] }, body, { declarations: `var<workgroup> shared_: array<${stored}, ${wide}>;` })
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
  const w = new Statements(module, ["result"], { accumulator: "total" })
  w.expect([epilogue])
  const bits = asBits(module, dtype, w.variable(epilogue))
  const bytes = bytesOf(dtype)
  const write = bytes === 4 ? module.writeWord("result", bits)
    : module.writePart("result", bits, bytes)
  return `${w.lines.join("\n")}\n${write}`
}

const toWord = (type: Scalar, value: string): string => (type === "u32" ? value : type === "bool" ? `select(0u, 1u, ${value})` : `bitcast<u32>(${value})`)
const fromWord = (type: Scalar, value: string): string => (type === "u32" ? value : type === "bool" ? `(${value} != 0u)` : `bitcast<${type}>(${value})`)
