// Builds the bytes of a WebAssembly module: the whole toolchain of the CPU device and of emitted encoders.
import { Bytes } from "./bytes.ts"
import { FunctionBuilder, valueTypes } from "./function.ts"
import type { Local, ValueType } from "./function.ts"

export { FunctionBuilder } from "./function.ts"
export type { Index, Label, Local, ValueType } from "./function.ts"
export type { AtomicOp, LaneMemoryOp, LaneOp, LoadOp, PlainOp, StoreOp } from "./opcodes.ts"

export interface Signature {
  readonly params: readonly ValueType[]
  readonly results: readonly ValueType[]
}
export interface FunctionRef {
  readonly kind: "function"
  readonly index: number
}
export interface GlobalRef {
  readonly kind: "global"
  readonly index: number
}
export interface MemoryRef {
  readonly kind: "memory"
  readonly index: number
}
export interface TableRef {
  readonly kind?: "table"
  readonly index: number
}

/** Sizes in pages of 64 KiB (memory) or entries (table). A shared memory needs its maximum. */
export interface Limits {
  readonly initial: number
  readonly maximum?: number
  readonly shared?: boolean
}

const kinds = { function: 0, table: 1, memory: 2, global: 3 } as const
const section = { type: 1, import: 2, function: 3, table: 4, memory: 5, global: 6, export: 7, start: 8, element: 9,
  code: 10, data: 11 } as const

/** One module: any number of functions over one memory. Imports come before definitions, as their indices do. */
export class ModuleBuilder {
  private readonly types: Signature[] = []
  private readonly typeIndices = new Map<string, number>()
  private readonly imports: Bytes[] = []
  private readonly functions: { type: number; body?: Bytes }[] = []
  private readonly tables: Bytes[] = []
  private readonly memories: Bytes[] = []
  private readonly globals: Bytes[] = []
  private readonly exports: Bytes[] = []
  private readonly elements: Bytes[] = []
  private readonly segments: Bytes[] = []
  private readonly imported = { function: 0, table: 0, memory: 0, global: 0 }
  private startFunction: FunctionRef | undefined

  importFunction(module: string, name: string, signature: Signature): FunctionRef {
    if (this.functions.length > 0) throw new Error(`import ${module}.${name}: imports must precede definitions`)
    return this.import(module, name, "function", new Bytes().u32(this.type(signature)))
  }

  importMemory(module: string, name: string, limits: Limits): MemoryRef {
    return this.import(module, name, "memory", encodeLimits(limits))
  }

  importTable(module: string, name: string, limits: Limits): TableRef {
    return this.import(module, name, "table", new Bytes().u8(valueTypes.funcref).all(encodeLimits(limits).data))
  }

  importGlobal(module: string, name: string, type: ValueType, mutable = false): GlobalRef {
    return this.import(module, name, "global", new Bytes().u8(valueTypes[type]).u8(mutable ? 1 : 0))
  }

  memory(limits: Limits): MemoryRef {
    return { kind: "memory", index: this.imported.memory + this.memories.push(encodeLimits(limits)) - 1 }
  }

  table(limits: Limits): TableRef {
    const bytes = new Bytes().u8(valueTypes.funcref).all(encodeLimits(limits).data)
    return { kind: "table", index: this.imported.table + this.tables.push(bytes) - 1 }
  }

  global(type: "i32" | "f32" | "f64", initial: number, mutable = true): GlobalRef {
    const bytes = new Bytes().u8(valueTypes[type]).u8(mutable ? 1 : 0)
    if (type === "i32") bytes.u8(0x41).s32(initial)
    else if (type === "f32") bytes.u8(0x43).f32(initial)
    else bytes.u8(0x44).f64(initial)
    return { kind: "global", index: this.imported.global + this.globals.push(bytes.u8(0x0b)) - 1 }
  }

  /** Reserves an index, so that functions can call each other; `define` gives it a body. */
  declare(params: readonly ValueType[], results: readonly ValueType[]): FunctionRef {
    const index = this.imported.function + this.functions.push({ type: this.type({ params, results }) }) - 1
    return { kind: "function", index }
  }

  define(declared: FunctionRef, body: (f: FunctionBuilder, ...params: Local[]) => void): void {
    const entry = this.functions[declared.index - this.imported.function]
    if (entry === undefined || entry.body !== undefined) throw new Error(`function ${declared.index} cannot be defined here`)
    const signature = this.types[entry.type]
    const f = new FunctionBuilder(signature?.params ?? [], (s) => this.type(s))
    body(f, ...f.params)
    entry.body = f.finish()
  }

  /** Declares, defines and (with a name) exports a function. */
  function(params: readonly ValueType[], results: readonly ValueType[],
    body: (f: FunctionBuilder, ...params: Local[]) => void, exportAs?: string): FunctionRef {
    const reference = this.declare(params, results)
    this.define(reference, body)
    if (exportAs !== undefined) this.export(exportAs, reference)
    return reference
  }

  export(name: string, item: FunctionRef | GlobalRef | MemoryRef | TableRef): void {
    this.exports.push(new Bytes().name(name).u8(kinds[item.kind ?? "table"]).u32(item.index))
  }

  /** Puts functions into table 0 from position `offset` on, at instantiation. */
  element(offset: number, functions: readonly FunctionRef[]): void {
    const bytes = new Bytes().u32(0).u8(0x41).s32(offset).u8(0x0b).u32(functions.length)
    for (const { index } of functions) bytes.u32(index)
    this.elements.push(bytes)
  }

  /** Writes bytes to memory 0 at instantiation. With a shared memory every instance writes them again. */
  data(offset: number, contents: Uint8Array): void {
    this.segments.push(new Bytes().u32(0).u8(0x41).s32(offset).u8(0x0b).u32(contents.length).all(contents))
  }

  start(reference: FunctionRef): void {
    this.startFunction = reference
  }

  finish(): Uint8Array<ArrayBuffer> {
    const out = new Bytes().all([0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0])
    const list = (id: number, items: readonly Bytes[], add: (to: Bytes, item: Bytes) => void = (to, item) => to.all(item.data)) => {
      if (items.length === 0) return
      const content = new Bytes().u32(items.length)
      for (const item of items) add(content, item)
      out.u8(id).sized(content)
    }
    const bodies = this.functions.map(({ body }, i) => {
      if (body === undefined) throw new Error(`function ${i + this.imported.function} was declared but not defined`)
      return body
    })
    list(section.type, this.types.map(encodeSignature))
    list(section.import, this.imports)
    list(section.function, this.functions.map(({ type }) => new Bytes().u32(type)))
    list(section.table, this.tables)
    list(section.memory, this.memories)
    list(section.global, this.globals)
    list(section.export, this.exports)
    if (this.startFunction !== undefined) out.u8(section.start).sized(new Bytes().u32(this.startFunction.index))
    list(section.element, this.elements)
    list(section.code, bodies, (to, body) => to.sized(body))
    list(section.data, this.segments)
    return out.data.slice()
  }

  private import<K extends keyof typeof kinds>(module: string, name: string, kind: K, description: Bytes): { kind: K; index: number } {
    this.imports.push(new Bytes().name(module).name(name).u8(kinds[kind]).all(description.data))
    return { kind, index: this.imported[kind]++ }
  }

  private type(signature: Signature): number {
    const key = `${signature.params.join()}:${signature.results.join()}`
    let index = this.typeIndices.get(key)
    if (index === undefined) {
      index = this.types.push(signature) - 1
      this.typeIndices.set(key, index)
    }
    return index
  }
}

function encodeLimits({ initial, maximum, shared = false }: Limits): Bytes {
  if (shared && maximum === undefined) throw new Error("a shared memory needs a maximum")
  const bytes = new Bytes().u8((maximum === undefined ? 0 : 1) | (shared ? 2 : 0)).u32(initial)
  return maximum === undefined ? bytes : bytes.u32(maximum)
}

function encodeSignature({ params, results }: Signature): Bytes {
  const bytes = new Bytes().u8(0x60).u32(params.length)
  for (const type of params) bytes.u8(valueTypes[type])
  bytes.u32(results.length)
  for (const type of results) bytes.u8(valueTypes[type])
  return bytes
}
