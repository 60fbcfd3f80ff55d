// How each letter of the scalar alphabet is spelled in WGSL: one row per letter.
import { fail, type Expr, type ExprOp } from "@thimble/core"
import { fromHalf, typeName, type Statements } from "./expression.ts"
import type { MathName } from "./numbers.ts"

type Spell = (w: Statements, e: Expr) => string

/** Values of the sources; if all are constants the first becomes a variable, since constant expressions must not overflow. */
function sources(w: Statements, e: Expr): string[] {
  return e.src.every((s) => s.op === "const") ? e.src.map((s, i) => (i === 0 ? w.variable(s) : w.value(s))) : e.src.map((s) => w.value(s))
}
const infix = (op: string): Spell => (w, e) => {
  const [a, b] = sources(w, e)
  return `(${a} ${op} ${b})`
}
/**
 * f32 arithmetic as it is written: optimizers turn x·0, x + 0, 0/x, x - x and x/x into what they are only if x is finite and
 * not -0 or 0, and a division by a constant into a product. They do not see constants that are made at run time, nor that
 * two values are one of which one is.
 */
const arithmetic = (op: "+" | "-" | "*" | "/"): Spell => (w, e) => {
  if ((op === "-" || op === "/") && e.src[0] === e.src[1]) {
    const x = w.variable(e.src[0]!)
    return `(${x} ${op} ${w.module.math("rounded")}(${x}))`
  }
  const hidden = (s: Expr, i: number): boolean => s.op === "const" && (s.value === 0 || (op === "/" && i === 1 && !Number.isInteger(Math.log2(Math.abs(s.value)))))
  const [a, b] = e.src.map((s, i) => (hidden(s, i) ? w.hidden(s) : e.src.every((x) => x.op === "const") ? w.variable(s) : w.value(s)))
  return `(${a} ${op} ${b})`
}
const builtin = (name: string): Spell => (w, e) => `${name}(${sources(w, e).join(", ")})`
/** A function of the library, for f32. */
const math = (name: MathName, rest: string | undefined = undefined): Spell => (w, e) => `${w.module.math(name)}(${[...sources(w, e), ...(rest === undefined ? [] : [rest])].join(", ")})`
const byType = (rows: Partial<Record<Expr["type"], Spell>>): Spell => (w, e) => (rows[e.src[0]!.type] ?? fail("internal", "webgpu", `no spelling for ${e.op} of ${e.src[0]!.type}`))(w, e)
/** For integers of either sign. */
const integers = (spell: Spell) => ({ i32: spell, u32: spell })
const all = (spell: Spell) => ({ ...integers(spell), f32: spell })

/** f32 sums, whose products must be rounded before: a driver may join them otherwise. */
const sumOf = (op: "+" | "-"): Spell => (w, e) => {
  const isProduct = (s: Expr): boolean => s.op === "mul" || (s.op === "neg" && s.src[0]!.op === "mul")
  if (!w.module.features.numbers.contracts || !e.src.some(isProduct)) return arithmetic(op)(w, e)
  const [a, b] = e.src.map((s) => (isProduct(s) ? `${w.module.math("rounded")}(${w.value(s)})` : s.op === "const" && s.value === 0 ? w.hidden(s) : w.value(s)))
  return `(${a} ${op} ${b})`
}

/** A division by a constant needs no test for zero; of a number that is not negative it is unsigned. */
const integerDivision = (op: "/" | "%"): Spell => (w, e) => {
  const [a, b] = e.src as [Expr, Expr]
  const signed = e.type === "i32"
  if (b.op !== "const") return math(op === "/" ? (signed ? "divI32" : "divU32") : signed ? "remI32" : "remU32")(w, e)
  const value = w.variable(a), d = b.value
  if (d === 0) return signed ? "0i" : "0u"
  if (d < 0) return op === "/" ? (d === -1 ? `(-${value})` : `(${value} / (${d}i))`) : d === -1 ? "0i" : `(${value} % (${d}i))`
  if (signed && a.low < 0) return `(${value} ${op} ${d}i)`
  const power = Math.log2(d)
  if (Number.isInteger(power)) return op === "/" ? `(${value} >> ${power}u)` : `(${value} & ${d - 1}${signed ? "i" : "u"})`
  return signed ? `i32(u32(${value}) ${op} ${d}u)` : `(${value} ${op} ${d}u)`
}

const shift = (op: "<<" | ">>"): Spell => (w, e) => {
  const [a, b] = e.src as [Expr, Expr]
  const by = b.op === "const" ? `${b.value & 31}u` : `(u32(${w.value(b)}) & 31u)`
  return `(${w.variable(a)} ${op} ${by})`
}
const compare = (op: "<" | "<=" | "=="): Spell => byType({ ...all(infix(op)), bool: (w, e) => `(u32(${w.value(e.src[0]!)}) ${op} u32(${w.value(e.src[1]!)}))` })
const logical = (op: "&" | "|", bool = infix(op)): Spell => byType({ ...integers(infix(op)), bool })

const cast: Spell = (w, e) => {
  const [a] = e.src as [Expr], value = w.variable(a)
  // NaN is true, which != of floats need not say.
  if (e.type === "bool") return a.type === "f32" ? `((bitcast<u32>(${value}) & 0x7fffffffu) != 0u)` : `(${value} != ${a.type === "i32" ? "0i" : "0u"})`
  if (a.type === "f32" && e.type !== "f32") return `${w.module.math(e.type === "i32" ? "toI32" : "toU32")}(${value})`
  return `${typeName(e.type)}(${value})`
}
/** What is left of a value in a narrow type. */
const store: Spell = (w, e) => {
  const value = w.variable(e.src[0]!)
  switch (e.dtype) {
    case "f16": return fromHalf(w.module, `${w.module.math("toF16")}(${value})`)
    case "bf16": return `bitcast<f32>(${w.module.math("toBf16")}(${value}) << 16u)`
    case "i8": case "i16": return `extractBits(${value}, 0u, ${e.dtype === "i8" ? 8 : 16}u)`
    case "u8": case "u16": return `(${value} & ${e.dtype === "u8" ? "0xffu" : "0xffffu"})`
    default: return value
  }
}
const nowhere: Spell = (_w, e) => fail("internal", "webgpu", `${e.op} is no operation`)

export const spelling = {
  const: nowhere, index: nowhere, scalar: nowhere, acc: nowhere, load: nowhere,
  neg: (w, e) => `(-${w.variable(e.src[0]!)})`,
  abs: builtin("abs"),
  sqrt: (w, e) => (w.module.features.numbers.exactRoot ? builtin("sqrt") : math("sqrt"))(w, e),
  exp: math("exp"), log: math("log"), sin: math("circular", "0u"), cos: math("circular", "1u"), atan: math("atan"), tanh: math("tanh"), erf: math("erf"),
  floor: builtin("floor"), ceil: builtin("ceil"), round: builtin("round"), trunc: builtin("trunc"),
  not: (w, e) => `(${e.type === "bool" ? "!" : "~"}${w.variable(e.src[0]!)})`,
  cast, store,
  bitcast: (w, e) => `bitcast<${typeName(e.type)}>(${w.variable(e.src[0]!)})`,
  add: byType({ f32: sumOf("+"), ...integers(infix("+")) }),
  sub: byType({ f32: sumOf("-"), ...integers(infix("-")) }),
  mul: byType({ f32: arithmetic("*"), ...integers(infix("*")) }),
  div: byType({ f32: (w, e) => (w.module.features.numbers.exactDivision ? arithmetic("/") : math("div"))(w, e), ...integers(integerDivision("/")) }),
  rem: byType({ f32: math("rem"), ...integers(integerDivision("%")) }),
  min: byType({ f32: math("min"), ...integers(builtin("min")), bool: infix("&") }),
  max: byType({ f32: math("max"), ...integers(builtin("max")), bool: infix("|") }),
  pow: math("pow"),
  and: logical("&"), or: logical("|"),
  xor: byType({ ...integers(infix("^")), bool: infix("!=") }),
  shl: shift("<<"), shr: shift(">>"),
  lt: compare("<"), le: compare("<="), eq: compare("=="),
  select: (w, e) => {
    const [c, a, b] = e.src.map((s) => w.value(s))
    return `select(${b}, ${a}, ${c})`
  },
} satisfies Record<ExprOp, Spell>
