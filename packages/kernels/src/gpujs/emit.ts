// Turns a kernel into the source of a gpu.js kernel: one thread per element of the output, loops for what is reduced.
import { dtypes, expr, flatten, rewrite, sizeOf, type Expr, type Kernel, type MapKernel, type ReduceKernel } from "@thimble/core"
import { erfPieces } from "../emit/approx.ts"
import { formOf, spellings, toF32, type Computed, type Form, type Use, type Words } from "./spelling.ts"

/** What a gpu.js kernel takes, in the order of its parameters. */
export type Argument =
  | { readonly kind: "elements"; readonly parameter: number }
  | { readonly kind: "scalar"; readonly slot: number; readonly part: "value" | "low" | "high" }
  | { readonly kind: "specials" }
  /** Several parameters, one after the other, where a mode takes fewer arrays; and how many numbers those before one are. */
  | { readonly kind: "packed"; readonly parameters: readonly number[] }
  | { readonly kind: "offset"; readonly parameters: readonly number[] }

export interface Source {
  readonly source: string
  readonly arguments: readonly Argument[]
  readonly parameters: readonly string[]
  /** Whether an element of the result is a number or a pair of halves, low and high. */
  readonly result: "number" | "words"
}

/** Elements that gpu.js can index in f32, where an element is a number or two halves. */
export const exactPositions = 2 ** 23

export interface EmitOptions {
  /** Whether the mode's `Math` is JavaScript's; on GPUs it is not. */
  readonly exactFunctions: boolean
  /** How many tensors a kernel may read apart. */
  readonly arrays: number
}

export function emitKernel(kernel: MapKernel | ReduceKernel, options: EmitOptions): Source {
  return expr.freshExprs(() => {
    const rank = kernel.shape.length, flat = expr.index(0, sizeOf(kernel.shape))
    // Threads are numbered along memory; what is read in the same order then needs no coordinates.
    const strides = kernel.shape.map((_, a) => sizeOf(kernel.shape.slice(a + 1)))
    const roots = rewrite(kernel.kind === "map" ? [kernel.body] : [kernel.body, kernel.epilogue], (e) => {
      if (e.op === "index" && e.value < rank) return expr.rem(expr.div(flat, expr.int(strides[e.value]!)), expr.int(kernel.shape[e.value]!))
      return e.op === "erf" ? erf(e.src[0]!) : undefined
    })
    const read = [...new Set(flatten(roots).flatMap((e) => (e.op === "load" ? [e.value] : [])))]
    const emitter = new Emitter(kernel, rank, options, read.length > options.arrays ? read.slice(options.arrays - 1) : [])
    if (kernel.kind === "map") return emitter.finish(roots[0]!)
    return emitter.finish(roots[1]!, { body: roots[0]!, kernel })
  })
}

function erf(x: Expr): Expr {
  const { near, small, large } = erfPieces(x, expr.exp)
  return expr.select(near, small, expr.select(expr.lt(x, expr.constant("f32", 0)), expr.neg(large), large))
}

/** The text of a value: a name or literal, or those of its halves. */
type Atom = string | Words
const isWords = (a: Atom): a is Words => typeof a !== "string"
const literal = (x: number): string => (x < 0 || Object.is(x, -0) ? `(-${-x})` : String(x))
const halves = (x: number): Words => ({ low: String((x >>> 0) & 0xffff), high: String(x >>> 16) })

class Emitter {
  private readonly kernel: Kernel
  private readonly rank: number
  private readonly options: EmitOptions
  /** Parameters that are read as one array. */
  private readonly packed: readonly number[]
  /** Statements by how many loops they are in; the last are those after the loops. */
  private readonly lines: string[][]
  private readonly depths = new Map<Expr, number>()
  private readonly values = new Map<Expr, Atom>()
  private readonly converted = new Map<Expr, Words>()
  private readonly taken: { name: string; argument: Argument }[] = []
  private depth = 0
  private names = 0
  private readonly after: number

  constructor(kernel: MapKernel | ReduceKernel, rank: number, options: EmitOptions, packed: readonly number[]) {
    this.kernel = kernel
    this.packed = packed
    this.options = options
    this.rank = rank
    this.after = kernel.kind === "reduce" ? kernel.over.length + 1 : 0
    this.lines = Array.from({ length: this.after + 1 }, () => [])
  }

  finish(root: Expr, reduction?: { readonly body: Expr; readonly kernel: ReduceKernel }): Source {
    const open: string[] = [], close: string[] = []
    if (reduction) {
      const { over } = reduction.kernel
      const value = this.form(this.emit(reduction.body), reduction.body, accumulatorForm(reduction.body))
      this.depth = over.length
      this.accumulate(reduction.kernel, value)
      over.forEach((n, k) => {
        open.push(`for (let j${k} = 0; j${k} < ${n}; j${k}++) {\nconst c${k} = j${k};`)
        close.push("}")
      })
    }
    this.depth = this.after
    const value = this.emit(root)
    this.depth = this.after
    const pair = this.kernel.dtype === "i32" || this.kernel.dtype === "u32"
    const out = pair ? this.form(value, root, "words") : isWords(value) ? value.low : value
    const [first, ...inner] = this.lines
    const last = inner.pop() ?? []
    const body = [
      ...this.prologue(), ...first!, ...inner.flatMap((lines, k) => [open[k]!, ...lines]), ...close, ...last,
      isWords(out) ? `return [${out.low}, ${out.high}];` : `return ${out};`,
    ]
    const parameters = this.taken.map(({ name }) => name)
    return { source: `function (${parameters.join(", ")}) {\n${body.join("\n")}\n}`, arguments: this.taken.map((t) => t.argument), parameters, result: pair ? "words" : "number" }
  }

  private prologue(): string[] {
    const size = sizeOf(this.kernel.shape)
    const position = size < 2 ** 24 ? ["const i = this.thread.x;"]
      : ["const il = this.thread.x & 65535;", "const ih = (this.thread.x - (this.thread.x & 65535)) / 65536;"]
    return [...position, ...(this.taken.some(({ name }) => name === "special") ? ["const infinity = special[0];", "const nan = special[1];", "const zero = special[2];"] : [])]
  }

  private accumulate({ combine, over }: ReduceKernel, value: Atom): void {
    const lines = this.lines[over.length]!, before = this.lines[0]!
    if (!isWords(value)) {
      const start = combine === "add" ? "0" : combine === "mul" ? "1" : this.bodyType === "f32" ? `-${this.special("infinity")}` : "0"
      before.push(`let a = ${start};`)
      const form = this.bodyType === "bool" ? "truth" : "float"
      const next = combine === "max" ? (spellings.max[form] as (use: Use) => string)(this.use({ op: combine, type: this.bodyType } as Expr, ["a", value])) : toF32(`a ${combine === "add" ? "+" : "*"} ${value}`)
      lines.push(`a = ${next};`)
      return
    }
    const start = halves(combine === "add" ? 0 : combine === "mul" ? 1 : this.bodyType === "i32" ? -2147483648 : 0)
    before.push(`let al = ${start.low};`, `let ah = ${start.high};`)
    const held: Atom = { low: "al", high: "ah" }
    const use = this.use({ op: combine, type: this.bodyType } as Expr, [held, value])
    const next = (spellings[combine].words as (use: Use) => Words)(use)
    const low = this.bind(next.low), high = this.bind(next.high)
    lines.push(`al = ${low};`, `ah = ${high};`)
  }
  private get bodyType(): Expr["type"] {
    return (this.kernel as ReduceKernel).body.type
  }

  /** Emits an expression with all it needs; every shared value once, in the outermost loop that it may stand in. */
  private emit(root: Expr): Atom {
    for (const e of flatten([root])) if (!this.values.has(e)) {
      const depth = this.depthOf(e)
      this.depths.set(e, depth)
      this.depth = depth
      this.values.set(e, this.value(e))
    }
    return this.values.get(root)!
  }
  private depthOf(e: Expr): number {
    if (e.op === "acc") return this.after
    if (e.op === "index") return e.value < this.rank ? 0 : e.value - this.rank + 1
    return e.src.reduce((d, s) => Math.max(d, this.depths.get(s)!), 0)
  }

  private value(e: Expr): Atom {
    const form = formOf(e)
    switch (e.op) {
      case "const":
        if (form === "words") return halves(e.value)
        if (form === "float" && e.value === 0 && !this.options.exactFunctions) return Object.is(e.value, 0) ? this.special("zero") : this.bind(`-${this.special("zero")}`)
        if (Number.isNaN(e.value)) return this.special("nan")
        if (Number.isFinite(e.value)) return literal(e.value)
        return e.value > 0 ? this.special("infinity") : this.bind(`-${this.special("infinity")}`)
      case "index":
        if (e.value >= this.rank) return `c${e.value - this.rank}`
        return form === "words" ? { low: "il", high: "ih" } : "i"
      case "acc": return accumulatorForm(e) === "words" ? { low: "al", high: "ah" } : "a"
      case "scalar":
        if (form !== "words") return this.take(`s${e.value}`, { kind: "scalar", slot: e.value, part: "value" })
        return { low: this.take(`s${e.value}l`, { kind: "scalar", slot: e.value, part: "low" }), high: this.take(`s${e.value}h`, { kind: "scalar", slot: e.value, part: "high" }) }
      case "load": return this.load(e)
      default: return this.computed(e, form)
    }
  }

  private load(e: Expr): Atom {
    const at = e.src[0]!, position = this.values.get(at)!, before = this.packed.indexOf(e.value)
    const p = before < 0 ? this.take(`p${e.value}`, { kind: "elements", parameter: e.value }) : this.take("packed", { kind: "packed", parameters: this.packed })
    const offset = before <= 0 ? "" : `${this.take(`o${e.value}`, { kind: "offset", parameters: this.packed.slice(0, before) })} + `
    const inWords = e.dtype === "i32" || e.dtype === "u32"
    // Positions that f32 cannot hold are put together from whole numbers, which gpu.js has in indices.
    if (at.op === "const") {
      if (!inWords) return this.bind(`${p}[${offset}${at.value}]`)
      return { low: this.bind(`${p}[${offset}${2 * at.value}]`), high: this.bind(`${p}[${offset}${2 * at.value + 1}]`) }
    }
    const whole = isWords(position) ? `(${position.high} | 0) * 65536 + (${position.low} | 0)` : at.high < exactPositions ? position : `(${position} | 0)`
    if (!inWords) return this.bind(`${p}[${offset}${whole}]`)
    return { low: this.bind(`${p}[${offset}2 * (${whole})]`), high: this.bind(`${p}[${offset}2 * (${whole}) + 1]`) }
  }

  private computed(e: Expr, form: Form): Atom {
    const row: Readonly<Partial<Record<Form, (use: Use) => Atom>>> = spellings[e.op as Computed]
    const operands = e.op === "select" ? e.src.slice(1) : e.src
    // A change of type is spelled by what it gives, anything else by what it computes with.
    const wide = operands.some((s) => formOf(s) === "words") || form === "words"
    const spell = row[e.op === "cast" || e.op === "bitcast" ? form : wide ? "words" : formOf(operands[0]!)] ?? row.words
    if (spell === undefined) throw new Error(`no spelling for ${e.op} on ${e.src[0]!.type}`)
    const spelled = spell(this.use(e, e.src.map((s) => this.values.get(s)!)))
    if (!isWords(spelled)) return this.bind(spelled)
    const { low, high } = spelled, bound = { low: this.bind(low), high: this.bind(high) }
    return form === "words" ? bound : this.bind(`${bound.low} + 65536 * ${e.low < 0 ? `(${bound.high} >= 32768 ? ${bound.high} - 65536 : ${bound.high})` : bound.high}`)
  }

  private use(e: Expr, atoms: readonly Atom[]): Use {
    return {
      e,
      number: (i) => atoms[i] as string,
      words: (i) => this.form(atoms[i]!, e.src?.[i], "words") as Words,
      bind: (text) => this.bind(text),
      exactFunctions: this.options.exactFunctions,
      infinity: () => this.special("infinity"),
      zero: () => (this.options.exactFunctions ? "0" : this.special("zero")),
      nan: () => this.special("nan"),
      special: (at) => this.bind(`${this.take("special", { kind: "specials" })}[${at}]`),
    }
  }

  /** A whole number as halves, where those are wanted. */
  private form(value: Atom, e: Expr | undefined, form: Form): Atom {
    if (form !== "words" || isWords(value)) return value
    if (e?.op === "const") return halves(e.value)
    const known = e && this.converted.get(e)
    if (known) return known
    const depth = this.depth
    if (e) this.depth = this.depths.get(e)!
    const high = this.bind(`Math.floor(${value} / 65536)`)
    const words: Words = { low: this.bind(`${value} - 65536 * ${high}`), high: e && e.low >= 0 ? high : this.bind(`${high} < 0 ? ${high} + 65536 : ${high}`) }
    this.depth = depth
    if (e) this.converted.set(e, words)
    return words
  }

  private bind(text: string): string {
    if (/^\w+$/.test(text)) return text
    const name = `v${this.names++}`
    this.lines[this.depth]!.push(`const ${name} = ${text};`)
    return name
  }
  private take(name: string, argument: Argument): string {
    if (!this.taken.some((t) => t.name === name)) this.taken.push({ name, argument })
    return name
  }
  private special(name: "infinity" | "nan" | "zero"): string {
    this.take("special", { kind: "specials" })
    return name
  }
}

/** Integers are summed as halves: they may grow beyond what they started from. */
const accumulatorForm = (e: Expr): Form => (e.type === "i32" || e.type === "u32" ? "words" : formOf(e))

/** Whether the storage type computes in f64, which gpu.js does not have. */
export const isWide = (kernel: Kernel): boolean =>
  kernel.parameters.some((d) => dtypes[d].scalar === "f64") || kernel.scalars.includes("f64")
  || flatten(kernel.kind === "map" ? [kernel.body] : kernel.kind === "reduce" ? [kernel.body, kernel.epilogue] : [kernel.epilogue]).some((e) => e.type === "f64")
