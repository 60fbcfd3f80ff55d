// How each letter of the scalar alphabet is spelled in gpu.js's part of JavaScript, where every value is an f32 number.
import { dtypes, type Expr, type ExprOp } from "@thimble/core"

/**
 * What a value is: an f32, a truth value (0 or 1), a whole number that f32 holds exactly, or a 32-bit integer as two
 * halves, each 0 … 65535.
 */
export type Form = "float" | "truth" | "whole" | "words"
export interface Words { readonly low: string; readonly high: string }

/** Whole numbers up to here are exact, and so are their sums. */
const exact = 2 ** 24

export const formOf = (e: Expr): Form =>
  e.type === "f32" || e.type === "f64" ? "float" : e.type === "bool" ? "truth" : e.low > -exact && e.high < exact ? "whole" : "words"

/** The operands of a letter, and what its spelling may use. All texts are names or literals, so they may be repeated. */
export interface Use {
  readonly e: Expr
  number(source: number): string
  words(source: number): Words
  /** Names an intermediate result. */
  bind(text: string): string
  /** Names of what gpu.js has no literals for. */
  infinity(): string
  nan(): string
}
type Spelling<R = string | Words> = (use: Use) => R
type Row = Readonly<Partial<Record<Form, Spelling>>>
export type Computed = Exclude<ExprOp, "const" | "index" | "scalar" | "acc" | "load">

/** The cpu backend computes in f64: each operation says where it rounds. Elsewhere it changes nothing. */
export const toF32 = (text: string): string => `Math.fround(${text})`
const fold = (name: string): string => `${name} - 65536 * Math.floor(${name} / 65536)`
const truth = (test: string): string => `(${test}) ? 1 : 0`

const unary = (spell: (a: string) => string): Spelling<string> => ({ number }) => spell(number(0))
const binary = (spell: (a: string, b: string) => string): Spelling<string> => ({ number }) => spell(number(0), number(1))
const rounding = (name: string): Row => ({ float: unary((a) => `Math.${name}(${a})`) })
const math = (name: string): Row => ({ float: unary((a) => toF32(`Math.${name}(${a})`)) })

/** The high half as it counts in comparisons and sums. */
const signedHigh = ({ high }: Words, e: Expr): string => (e.type === "u32" ? high : `(${high} >= 32768 ? ${high} - 65536 : ${high})`)
const compare = (operator: "<" | "<="): Row => {
  const plain = binary((a, b) => truth(`${a} ${operator} ${b}`))
  return {
    float: plain, whole: plain, truth: plain,
    words({ e, words, bind }) {
      const [a, b] = [words(0), words(1)], [p, q] = [bind(signedHigh(a, e.src[0]!)), bind(signedHigh(b, e.src[0]!))]
      return truth(`${p} < ${q} || (${p} == ${q} && ${a.low} ${operator} ${b.low})`)
    },
  }
}
/** The smaller (`<`) or larger of two. */
const extreme = (name: "min" | "max"): Row => {
  const plain = binary((a, b) => `Math.${name}(${a}, ${b})`)
  return {
    float: plain, truth: plain, whole: plain,
    words({ e, words, bind }) {
      const [first, second] = name === "min" ? [words(0), words(1)] : [words(1), words(0)]
      const [p, q] = [bind(signedHigh(first, e)), bind(signedHigh(second, e))]
      const less = bind(truth(`${p} < ${q} || (${p} == ${q} && ${first.low} < ${second.low})`))
      const [a, b] = [words(0), words(1)]
      return { low: `${less} > 0 ? ${a.low} : ${b.low}`, high: `${less} > 0 ? ${a.high} : ${b.high}` }
    },
  }
}
/** gpu.js has real operators on whole numbers, and halves are small enough for them everywhere. */
const bitwise = (operator: "&" | "|" | "^", onTruths: (a: string, b: string) => string): Row => ({
  truth: binary(onTruths),
  words({ words }) {
    const [a, b] = [words(0), words(1)]
    return { low: `${a.low} ${operator} ${b.low}`, high: `${a.high} ${operator} ${b.high}` }
  },
})

/** The magnitude of a signed integer, as words. */
function magnitude(w: Words, bind: Use["bind"]): Words & { readonly negative: string } {
  const negative = bind(truth(`${w.high} >= 32768`))
  const low = bind(`${negative} > 0 ? 65536 - ${w.low} : ${w.low}`)
  const high = bind(`${negative} > 0 ? 65535 - ${w.high} + Math.floor(${low} / 65536) : ${w.high}`)
  return { low: bind(fold(low)), high: bind(fold(high)), negative }
}
function negated(w: Words, when: string, bind: Use["bind"]): Words {
  const low = bind(`${when} > 0 ? 65536 - ${w.low} : ${w.low}`)
  const high = bind(`${when} > 0 ? 65535 - ${w.high} + Math.floor(${low} / 65536) : ${w.high}`)
  return { low: fold(low), high: fold(high) }
}
/** Quotient (part 0) or remainder (part 2) of 32-bit integers. */
const division = (part: 0 | 2): Spelling<Words> => ({ e, words, bind }) => {
  const call = (a: Words, b: Words): Words =>
    ({ low: bind(`divide(${a.high}, ${a.low}, ${b.high}, ${b.low}, ${part})`), high: bind(`divide(${a.high}, ${a.low}, ${b.high}, ${b.low}, ${part + 1})`) })
  if (e.type === "u32") return call(words(0), words(1))
  const a = magnitude(words(0), bind), b = magnitude(words(1), bind)
  return negated(call(a, b), part === 0 ? bind(`Math.abs(${a.negative} - ${b.negative})`) : a.negative, bind)
}

/** Spellings by what has to be computed with: `words` as soon as an integer operand or the result needs them. */
export const spellings = {
  neg: { float: unary((a) => `-${a}`), whole: unary((a) => `0 - ${a}`) },
  abs: {
    float: unary((a) => `Math.abs(${a})`), whole: unary((a) => `Math.abs(${a})`),
    words: ({ words, bind }) => magnitude(words(0), bind),
  },
  sqrt: math("sqrt"), exp: math("exp"), log: math("log"), sin: math("sin"), cos: math("cos"), atan: math("atan"), tanh: math("tanh"),
  // The device spells it in the other letters beforehand.
  erf: {},
  floor: rounding("floor"), ceil: rounding("ceil"), trunc: rounding("trunc"),
  round: { float: unary((a) => `roundEven(${a})`) },
  not: {
    truth: unary((a) => `1 - ${a}`),
    words({ words }) {
      const { low, high } = words(0)
      return { low: `65535 - ${low}`, high: `65535 - ${high}` }
    },
  },
  // What a float or truth value becomes; casts between integers are a change of form.
  cast: { float: (use) => cast(use), truth: (use) => cast(use), whole: (use) => cast(use), words: (use) => cast(use) },
  bitcast: {
    float: ({ words, infinity, nan }) => `fromBits(${words(0).high}, ${words(0).low}, ${infinity()}, ${nan()})`,
    words: ({ e, number, words }) => (e.src[0]!.type === "f32" ? { low: `bits(${number(0)}, 0)`, high: `bits(${number(0)}, 1)` } : words(0)),
  },
  store: {
    float: ({ e, number, infinity }) =>
      e.dtype === "f16" ? `rounded(${number(0)}, 10, 5.960464477539063e-8, 65504, ${infinity()})` : `rounded(${number(0)}, 7, 9.183549615799121e-41, 3.3895313892515355e38, ${infinity()})`,
    whole: ({ e, number, bind }) => wrapped(e, number(0), bind),
    words: ({ e, words, bind }) => wrapped(e, words(0).low, bind),
  },
  add: {
    float: binary((a, b) => toF32(`${a} + ${b}`)), whole: binary((a, b) => `${a} + ${b}`),
    words({ words, bind }) {
      const [a, b] = [words(0), words(1)]
      const low = bind(`${a.low} + ${b.low}`), high = bind(`${a.high} + ${b.high} + Math.floor(${low} / 65536)`)
      return { low: fold(low), high: fold(high) }
    },
  },
  sub: {
    float: binary((a, b) => toF32(`${a} - ${b}`)), whole: binary((a, b) => `${a} - ${b}`),
    words({ words, bind }) {
      const [a, b] = [words(0), words(1)]
      const low = bind(`${a.low} - ${b.low}`), high = bind(`${a.high} - ${b.high} + Math.floor(${low} / 65536)`)
      return { low: fold(low), high: fold(high) }
    },
  },
  mul: {
    float: binary((a, b) => toF32(`${a} * ${b}`)), whole: binary((a, b) => `${a} * ${b}`),
    words({ words, bind }) {
      const [a, b] = [words(0), words(1)]
      const high = bind(`productHigh(${a.low}, ${b.low}) + productLow(${a.low}, ${b.high}) + productLow(${a.high}, ${b.low})`)
      return { low: `productLow(${a.low}, ${b.low})`, high: fold(high) }
    },
  },
  div: { float: binary((a, b) => toF32(`${a} / ${b}`)), whole: (use) => quotient(use), words: division(0) },
  rem: {
    float: ({ number, nan }) => `remainder(${number(0)}, ${number(1)}, ${nan()})`,
    whole: (use) => `${use.number(0)} - ${use.number(1)} * ${use.bind(quotient(use))}`,
    words: division(2),
  },
  min: extreme("min"), max: extreme("max"),
  pow: { float: binary((a, b) => `(${a} == 1 || (${a} == -1 && Math.abs(${b}) > 3.4028234663852886e38)) ? 1 : ${toF32(`Math.pow(${a}, ${b})`)}`) },
  and: bitwise("&", (a, b) => `${a} * ${b}`),
  or: bitwise("|", (a, b) => `Math.max(${a}, ${b})`),
  xor: bitwise("^", (a, b) => `Math.abs(${a} - ${b})`),
  shl: {
    words({ e, words, bind }) {
      const { low, high } = words(0), by = e.src[1]!
      if (by.op !== "const") return shifted("shiftLeft", { low, high }, bind(`${words(1).low} - 32 * Math.floor(${words(1).low} / 32)`))
      const n = by.value & 31, p = 2 ** (n & 15), l = bind(`${low} * ${p}`)
      if (n >= 16) return { low: "0", high: fold(l) }
      return { low: fold(l), high: `${fold(bind(`${high} * ${p}`))} + Math.floor(${l} / 65536)` }
    },
  },
  shr: {
    words({ e, words, bind }) {
      const { low, high } = words(0), by = e.src[1]!, top = bind(signedHigh({ low, high }, e))
      if (by.op !== "const") return shifted("shiftRight", { low, high: top }, bind(`${words(1).low} - 32 * Math.floor(${words(1).low} / 32)`))
      const n = by.value & 31, p = 2 ** (n & 15), t = bind(`Math.floor(${top} / ${p})`)
      return n >= 16
        ? { low: fold(t), high: e.type === "u32" ? "0" : `${top} < 0 ? 65535 : 0` }
        : { low: `Math.floor(${low} / ${p}) + (${top} - ${p} * ${t}) * ${65536 / p}`, high: fold(t) }
    },
  },
  lt: compare("<"), le: compare("<="),
  eq: {
    float: binary((a, b) => truth(`${a} == ${b}`)), whole: binary((a, b) => truth(`${a} == ${b}`)), truth: binary((a, b) => truth(`${a} == ${b}`)),
    words({ words }) {
      const [a, b] = [words(0), words(1)]
      return truth(`${a.low} == ${b.low} && ${a.high} == ${b.high}`)
    },
  },
  select: {
    float: (use) => chosen(use), truth: (use) => chosen(use), whole: (use) => chosen(use),
    words({ number, words }) {
      const c = number(0), [a, b] = [words(1), words(2)]
      return { low: `${c} > 0 ? ${a.low} : ${b.low}`, high: `${c} > 0 ? ${a.high} : ${b.high}` }
    },
  },
} satisfies Record<Computed, Row>

const chosen = ({ number }: Use): string => `${number(0)} > 0 ? ${number(1)} : ${number(2)}`
const shifted = (name: string, { low, high }: Words, by: string): Words =>
  ({ low: `${name}(${high}, ${low}, ${by}, 0)`, high: `${name}(${high}, ${low}, ${by}, 1)` })

/** Index arithmetic divides small positive numbers by constants: half a unit keeps an inexact division on the right side. */
function quotient({ e, number }: Use): string {
  const [a, b] = e.src as [Expr, Expr]
  return b.op === "const" && b.value > 0 && a.low >= 0 && a.high < 2 ** 20 ? `Math.floor((${number(0)} + 0.5) / ${number(1)})` : `quotient(${number(0)}, ${number(1)})`
}

/** A whole number modulo what an integer type of 8 or 16 bits can hold. */
function wrapped(e: Expr, x: string, bind: Use["bind"]): string {
  const { bytes, kind } = dtypes[e.dtype!], range = 2 ** (8 * bytes)
  return kind === "uint" ? `${x} - ${range} * Math.floor(${x} / ${range})` : `${x} - ${range} * ${bind(`Math.floor((${x} + ${range / 2}) / ${range})`)}`
}

function cast({ e, number, words, bind }: Use): string | Words {
  const [a] = e.src as [Expr], from = formOf(a)
  if (e.type === "bool") return from === "words" ? truth(`${words(0).low} + ${words(0).high} > 0`) : `${number(0)} == 0 ? 0 : 1`
  // Adding 0 leaves no negative zero; a sum of halves is rounded once.
  if (e.type === "f32") return from === "words" ? toF32(`${signedHigh(words(0), a)} * 65536 + ${words(0).low}`) : `${number(0)} + 0`
  if (from !== "float") return from === "words" ? words(0) : number(0)
  const x = number(0), whole = bind(`${x} == ${x} ? Math.trunc(${x}) : 0`), top = bind(`Math.floor(${whole} / 65536)`)
  const [least, most] = e.type === "u32" ? [0, 65535] : [-32768, 32767]
  const high = bind(`${top} > ${most} ? ${most} : (${top} < ${least} ? ${least} : ${top})`)
  return {
    low: `${top} > ${most} ? 65535 : (${top} < ${least} ? 0 : ${whole} - 65536 * ${top})`,
    high: e.type === "u32" ? high : `${high} < 0 ? ${high} + 65536 : ${high}`,
  }
}
