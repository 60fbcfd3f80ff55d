// One WGSL module: what a pass binds, and the functions it calls, gathered while its text is written.
import type { Kernel, Scalar } from "@thimble/core"
import { asScalar } from "./expression.ts"
import { moduleText, type EmittedPass, type Entry } from "./emitted.ts"
import { layoutOf, windowWords, type Layout } from "./layout.ts"
import { accesses, WindowFunctions, windowName, type Access } from "./windows.ts"
import { calledAs, mathFunctions, mathText, type MathName } from "./numbers.ts"
import type { Features } from "./template/holes.ts"

/** What there is another form of, for drivers that fuse products with sums. */
const fused: Partial<Record<MathName, MathName>> = { div: "fusedDiv", sqrt: "fusedSqrt" }

/** A storage buffer that a pass binds. `packed` holds the parameters that have no binding of their own. */
export type Binding =
  | { readonly kind: "parameter"; readonly parameter: number; /** Which one, of a parameter that has several. */ readonly window?: number; readonly writes: boolean }
  | { readonly kind: "scratch"; readonly name: string; readonly writes: true }
  | { readonly kind: "packed"; readonly writes: false }

/** What the first attempt at a text found out, and a second one makes use of. */
export interface Findings {
  /** Parameters of which neighbouring words are read, and so are bound as vectors. */
  readonly wide: Set<number>
  /** Whether results are written in parts of words. */
  parts: boolean
}

/** Arguments come as four words a row: zero, the run-time scalars, then where packed parameters begin (in words). */
export const scalarAt = 1

export class ModuleWriter {
  readonly kernel: Kernel
  readonly features: Features
  private readonly found: Findings
  private readonly mathNames = new Set<MathName>()
  private readonly extensions = new Set<string>()
  private readonly functions = new Map<string, { readonly name: string; readonly text: string }>()
  private readonly used = new Map<number, boolean>()
  private readonly scratches = new Map<string, string>()
  private readonly quads = new Map<string, number>()
  private names = 0
  private readsArguments = false
  private readonly layout: Layout
  private readonly windows: WindowFunctions

  constructor(kernel: Kernel, features: Features, found: Findings, scratches = 0) {
    this.kernel = kernel
    this.features = features
    this.found = found
    this.layout = layoutOf(kernel, features, scratches)
    this.windows = new WindowFunctions(windowWords(features))
  }

  fresh(prefix: string): string {
    return `${prefix}${this.names++}`
  }
  math(asked: MathName): string {
    const name = (this.features.numbers.fuses ? fused[asked] : undefined) ?? asked
    this.mathNames.add(name)
    return calledAs(name)
  }
  enable(extension: string): void {
    this.extensions.add(extension)
  }
  scalar(type: Scalar, slot: number): string {
    const at = scalarAt + slot
    this.readsArguments = true
    const word = `arguments[${at >> 2}][${at & 3}]`
    return type === "bool" ? `(${word} != 0u)` : asScalar(type, word)
  }

  /** Whether a parameter is bound as vectors of four words. */
  isWide(parameter: number): boolean {
    return this.found.wide.has(parameter) && !this.layout.packed.includes(parameter)
  }
  /** Two words of one quad are read: reading them together takes one instruction. */
  noteQuad(parameter: number, quad: { readonly id: number }, place: number): void {
    const key = `${parameter} ${quad.id}`
    const before = this.quads.get(key)
    if (before === undefined) this.quads.set(key, place)
    else if (before !== place) this.found.wide.add(parameter)
  }
  /** Quads are compared within one function. */
  forgetQuads(): void {
    this.quads.clear()
  }
  read(parameter: number, at: string): string {
    this.used.set(parameter, this.used.get(parameter) ?? false)
    const shared = this.layout.packed.indexOf(parameter)
    if (shared < 0) return this.access(parameter, this.found.parts && parameter === 0 ? "loadShared" : "load", at)
    const place = scalarAt + this.kernel.scalars.length + shared
    this.readsArguments = true
    return `packed[i32(arguments[${place >> 2}][${place & 3}]) + ${at}]`
  }
  readQuad(parameter: number, quad: string): string {
    this.used.set(parameter, this.used.get(parameter) ?? false)
    return this.access(parameter, "loadQuad", quad)
  }
  /** A statement that writes a word of the result. */
  writeWord(at: string, bits: string): string {
    this.used.set(0, true)
    return `${this.access(0, this.found.parts ? "storeShared" : this.isWide(0) ? "storeWithin" : "store", at, bits)};`
  }
  /** Statements that write the four words from 4 · `quad` on. */
  writeQuad(quad: string, bits: readonly string[]): string {
    this.used.set(0, true)
    this.found.wide.add(0)
    return this.isWide(0) && !this.found.parts ? `${this.access(0, "storeQuad", quad, `vec4<u32>(${bits.join(", ")})`)};` : bits.map((b, i) => this.writeWord(`4 * (${quad}) + ${i}`, b)).join(" ")
  }
  /** Statements that write element `at` of a type of `bytes` 1 or 2, and leave the rest of its word, which others may be writing, alone. */
  writePart(at: string, bits: string, bytes: number): string {
    this.used.set(0, true)
    this.found.parts = true
    const per = 4 / bytes, word = `(${at}) >> ${per === 2 ? 1 : 2}u`, shift = `u32((${at}) & ${per - 1}) * ${8 * bytes}u`
    return `${this.access(0, "keep", word, `~(${bytes === 1 ? "0xffu" : "0xffffu"} << (${shift}))`)}; ${this.access(0, "join", word, `(${bits}) << (${shift})`)};`
  }
  private access(parameter: number, how: Access, at: string, bits = ""): string {
    const count = this.layout.windows[parameter]!
    return count === 1 ? accesses[how].text(`p${parameter}`, at, bits) : this.windows.call(parameter, count, how, at, bits)
  }
  scratch(name: string, type: string): string {
    this.scratches.set(name, type)
    return name
  }
  /** The function under `key`, written when first asked for. */
  function(key: string, write: (name: string) => string): string {
    let known = this.functions.get(key)
    if (known === undefined) {
      const name = this.fresh(key.replaceAll(/\W/g, "_") + "_")
      this.forgetQuads()
      this.functions.set(key, (known = { name, text: write(name) }))
      this.forgetQuads()
    }
    return known.name
  }

  /** The bindings of group 0, in order, and the text of the module. */
  finish(entry: Entry): Pick<EmittedPass, "code" | "bindings" | "readsArguments" | "text"> {
    const bindings: Binding[] = [], storage: { name: string; type: string; writes: boolean }[] = []
    const declare = (binding: Binding, name: string, type: string): void => {
      storage.push({ name, type, writes: binding.writes })
      bindings.push(binding)
    }
    let packs = false
    for (const [parameter, writes] of [...this.used].sort(([a], [b]) => a - b)) {
      const type = parameter === 0 && this.found.parts ? "atomic<u32>" : this.isWide(parameter) ? "vec4<u32>" : "u32", count = this.layout.windows[parameter]!
      if (this.layout.packed.includes(parameter)) packs = true
      else if (count === 1) declare({ kind: "parameter", parameter, writes }, `p${parameter}`, type)
      else for (let window = 0; window < count; window++) declare({ kind: "parameter", parameter, window, writes }, windowName(parameter, window), type)
    }
    if (packs) declare({ kind: "packed", writes: false }, "packed", "u32")
    for (const [name, type] of this.scratches) declare({ kind: "scratch", name, writes: true }, name, type)
    const library = mathText(this.mathNames)
    const readsArguments = this.readsArguments || library.includes("arguments[")
    const rows = Math.ceil((scalarAt + this.kernel.scalars.length + this.layout.packed.length) / 4)
    const text = {
      extensions: [...this.extensions], storage, argumentRows: readsArguments ? rows : 0, entry,
      functions: [library, this.windows.text(), ...[...this.functions.values()].map((f) => f.text)].filter((t) => t !== "").join("\n"),
    }
    return { code: moduleText(text), bindings, readsArguments, text }
  }
}

/** Writes a module, again if the first attempt found that memory is better declared otherwise. */
export function writeModule(kernel: Kernel, features: Features, scratches: number, write: (module: ModuleWriter) => Entry): ReturnType<ModuleWriter["finish"]> {
  const found: Findings = { wide: new Set(), parts: false }
  for (;;) {
    const before = `${[...found.wide]} ${found.parts}`
    const module = new ModuleWriter(kernel, features, found, scratches)
    const entry = write(module)
    if (found.parts) found.wide.delete(0)
    if (`${[...found.wide]} ${found.parts}` === before) return module.finish(entry)
  }
}

export const isMathName = (name: string): name is MathName => Object.hasOwn(mathFunctions, name)
