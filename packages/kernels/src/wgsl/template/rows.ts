// Softmax and normalization of rows: a row belongs to a group of threads, which keep it in registers where it fits.
import { joinAcross, largest } from "./join.ts"
import type { Features, PassHoles, PassText, Template } from "./holes.ts"

const threads = 256
/** Vectors of a row that a thread keeps; of longer rows it reads them again. */
const kept = 8

interface Sizes { readonly rows: number; readonly columns: number; readonly eps: number }

/** A row that a group of threads reads, each some vectors of it. */
export interface RowRead {
  readonly pass: PassHoles
  readonly columns: number
  readonly eps: number
  /** Declares and fills a value joined over the row from a vector of parts, begun with `start`. */
  fold(name: string, start: string, how: "sum" | "largest", of: (v: string, at: string) => string): string
  /** Zero past the end of the row. */
  within(value: string, at: string): string
  /** Rounded correctly: where all elements are their mean, nothing is to be left of them. */
  divide(a: string, b: string): string
  /** Vector `at` of an operand that all rows share. */
  shared(operand: string, at: string): string
}
export const divider = (pass: PassHoles, { numbers }: Features) => (a: string, b: string): string => (numbers.exactDivision ? `${a} / ${b}` : `${pass.math("div")}(${a}, ${b})`)
/** What the ops differ in, with the means to say it. */
interface Row extends RowRead {
  /** Stores a value for each vector. */
  finish(of: (v: string, at: string) => string): string
  exp(v: string): string
}
type Write = (row: Row, has: (operand: string) => boolean) => string

function rowsOf(write: Write, padding = "0f"): Template {
  return {
    accepts: (_dims, features) => features.threads >= threads,
    passes({ dims, operands, features }) {
      const { rows, columns } = dims as unknown as Sizes
      const group = columns <= 256 ? 32 : columns <= 1024 ? 128 : threads, perUnit = threads / group
      return [{ units: Math.ceil(rows / perUnit), threads: [threads], write: (pass) => text(pass, features, { sizes: dims as unknown as Sizes, group, write, padding, has: (name) => operands[name] !== undefined }) }]
    },
  }
}

interface Plan { readonly sizes: Sizes; readonly group: number; readonly write: Write; readonly padding: string; has(operand: string): boolean }

function text(pass: PassHoles, features: Features, { sizes: { rows, columns, eps }, group, write, padding, has }: Plan): PassText {
  const groups = Math.ceil(columns / 4), own = Math.ceil(groups / group), keeps = own <= kept
  const read = pass.read("x", 4, 1)
  const declarations: string[] = [], declare = (text: string): void => void declarations.push(text)
  // What is past the end of the row must change no result.
  const within = (v: string, at: string, otherwise = "0f"): string => (columns % 4 === 0 ? v : `select(vec4<f32>(${otherwise}), ${v}, vec4<i32>(4 * ${at}) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(${columns}))`)
  const value = (at: string): string => within(`${read}(row, ${at})`, at, padding)
  const finish = pass.finish(4), whole = rows % (threads / group) === 0
  const numbers = Array.from({ length: own }, (_, i) => i)
  const at = (i: number): string => `(place + ${i * group})`
  const inside = (i: number, body: string): string => ((i + 1) * group <= groups ? body : `if (${at(i)} < ${groups}) {\n${body}\n}`)
  const each: EachVector = (of) => keeps
    ? numbers.map((i) => inside(i, of(`x${i}`, at(i)))).join("\n")
    : `for (var g = place; g < ${groups}; g += ${group}) {\nlet v = ${value("g")};\n${of("v", "g")}\n}`
  const row: Row = {
    pass, columns, eps, divide: divider(pass, features), shared: (operand, at) => `${pass.read(operand, 4, 0)}(${at})`,
    within: (v, at) => within(v, at),
    finish: (of) => each((v, at) => `${whole ? "" : `if (own < ${rows}) `}{ ${finish}(row, ${at}, ${of(v, at)}); }`),
    fold: folding(pass, features, { each, group, threads, declare }),
    exp: (v) => `vec4<f32>(${["x", "y", "z", "w"].map((c) => `${pass.math("exp")}(${v}.${c})`).join(", ")})`,
  }
  const body = write(row, has)
  return {
    declarations: declarations.join("\n"),
    body: `
let place = thread % ${group};
let own = unit * ${threads / group} + thread / ${group};
let row = min(own, ${rows - 1});
${keeps ? numbers.map((i) => `var x${i} = vec4<f32>(${padding});\n${inside(i, `x${i} = ${value(at(i))};`)}`).join("\n") : ""}
${body}`,
  }
}

/** Its argument once for each vector of a row that a thread has: `v` is its text, `at` its number. */
type EachVector = (of: (v: string, at: string) => string) => string
/** How values are joined over a row that belongs to `group` of `threads` threads. */
export function folding(pass: PassHoles, features: Features, { each, group, threads, declare }:
  { readonly each: EachVector; readonly group: number; readonly threads: number; declare(text: string): void }): RowRead["fold"] {
  return (name, start, how, of) => {
    const four = `${name}_four`, join = how === "sum" ? (a: string, b: string) => `${a} + ${b}` : (a: string, b: string) => `max(${a}, ${b})`
    const joined = joinAcross(pass, features, { variables: [name], group, threads, name: `${name}_all`, ...(how === "largest" && { how: largest }) })
    if (joined.declarations !== "") declare(joined.declarations)
    return `var ${four} = vec4<f32>(${start});
${each((v, at) => `${four} = ${join(four, of(v, at))};`)}
var ${name} = ${join(join(`${four}.x`, `${four}.y`), join(`${four}.z`, `${four}.w`))};
${joined.text}`
  }
}

/** Below every finite number, as padding for a maximum. */
const lowest = "-3.4028234663852886e38f"
const exponentials = (r: Row): string => `${r.fold("most", lowest, "largest", (v) => v)}
${r.fold("total", "0f", "sum", (v, at) => r.within(r.exp(`(${v} - most)`), at))}`
const inverseRoot = (x: string): string => `1f / sqrt(${x})`

/** Times the weight plus the bias, where they are. */
function affine(r: RowRead, has: (operand: string) => boolean, value: string, at: string): string {
  const weighted = has("weight") ? `${value} * ${r.shared("weight", at)}` : value
  return has("bias") ? `${weighted} + ${r.shared("bias", at)}` : weighted
}

export const softmax = rowsOf((r) => `${exponentials(r)}\n${r.finish((v) => `${r.exp(`(${v} - most)`)} / total`)}`, lowest)
export const logSoftmax = rowsOf((r) => `${exponentials(r)}\nlet logTotal = ${r.pass.math("log")}(total);\n${r.finish((v) => `(${v} - most) - logTotal`)}`, lowest)
/** How the elements of a row are normalized: what has to be known of the row, how it is found, and the values of a vector by it. */
export interface Normalization {
  readonly known: readonly string[]
  find(r: RowRead): string
  /** `known`: the text of what was found. */
  value(r: RowRead, has: (operand: string) => boolean, v: string, at: string, known: (name: string) => string): string
}
export const normalizations = {
  layerNorm: {
    known: ["center", "rate"],
    find: (r) => `${r.fold("sum", "0f", "sum", (v) => v)}
let center = ${r.divide("sum", `${r.columns}f`)};
${r.fold("spread", "0f", "sum", (v, at) => r.within(`(${v} - center) * (${v} - center)`, at))}
let rate = ${inverseRoot(`spread / ${r.columns}f + ${r.eps}f`)};`,
    value: (r, has, v, at, known) => affine(r, has, `(${v} - ${known("center")}) * ${known("rate")}`, at),
  },
  rmsNorm: {
    known: ["rate"],
    find: (r) => `${r.fold("squares", "0f", "sum", (v) => `${v} * ${v}`)}
let rate = ${inverseRoot(`squares / ${r.columns}f + ${r.eps}f`)};`,
    value: (r, has, v, at, known) => affine(r, has, `${v} * ${known("rate")}`, at),
  },
} satisfies Record<string, Normalization>
const normalized = ({ find, value }: Normalization): Template => rowsOf((r, has) => `${find(r)}\n${r.finish((v, at) => value(r, has, v, at, (name) => name))}`)
export const layerNorm = normalized(normalizations.layerNorm), rmsNorm = normalized(normalizations.rmsNorm)
