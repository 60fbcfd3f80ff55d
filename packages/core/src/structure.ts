import { dtypes, type DType } from "./dtype.ts"
import type { Tensor } from "./tensor.ts"

const ids = new WeakMap<object, number>()
let nextId = 0
/** Number of an object (an op, a format, a function): the same for the same object. */
function idOf(x: object): number {
  let id = ids.get(x)
  if (id === undefined) ids.set(x, (id = nextId++))
  return id
}

const codes = Object.fromEntries(Object.keys(dtypes).map((d, i) => [d, i])) as Record<DType, number>
/** What an attribute is; the word before its value. */
const is = { undefined: 0, null: 1, whole: 2, number: 3, list: 4, record: 5, object: 6, string: 7, boolean: 8, bigint: 9, symbol: 10 } as const
/** Where the text of a key would say its length. */
const end = -1

const float = new Float64Array(1)
const halves = new Int32Array(float.buffer)

/**
 * What decides how something is computed, and nothing else, as words of 32 bits: graphs of equal words are computed by
 * one program, groups of equal words by one kernel. Whatever is added tells where it ends, so that the words of
 * different structures differ, and none begins another.
 */
export class Structure {
  private readonly words: number[] = []
  /** How many there are. */
  length = 0

  add(word: number): void {
    this.words[this.length++] = word
  }
  /** The same object. */
  addIdentity(x: object): void {
    this.add(idOf(x))
  }
  /** The op, the type and the attributes of a tensor; what it reads is for the caller to add. */
  addTensor(t: Tensor): void {
    this.addIdentity(t.op)
    this.addType(t)
    this.addValue(t.attrs)
  }
  addType({ dtype, shape }: Tensor): void {
    this.add(shape.length * 16 + codes[dtype])
    for (let i = 0; i < shape.length; i++) {
      if (shape[i]! < 2 ** 31) this.add(shape[i]!)
      else {
        this.add(end)
        this.addBits(shape[i]!)
      }
    }
  }
  private addValue(x: unknown): void {
    if (x === undefined) this.add(is.undefined)
    else if (x === null) this.add(is.null)
    else if (typeof x === "number") {
      if (Object.is(x | 0, x)) {
        this.add(is.whole)
        this.add(x)
      } else {
        this.add(is.number)
        this.addBits(x)
      }
    } else if (Array.isArray(x)) {
      this.add(is.list)
      this.add(x.length)
      for (let i = 0; i < x.length; i++) this.addValue(x[i])
    } else if (typeof x === "object" && Object.getPrototypeOf(x) === Object.prototype) {
      this.add(is.record)
      for (const key in x) {
        this.addText(key)
        this.addValue((x as Record<string, unknown>)[key])
      }
      this.add(end)
    } else if (typeof x === "object" || typeof x === "function") {
      this.add(is.object)
      this.addIdentity(x)
    } else {
      this.add(is[typeof x as "string" | "boolean" | "bigint" | "symbol"])
      this.addText(String(x))
    }
  }
  private addBits(x: number): void {
    float[0] = x
    this.add(halves[0]!)
    this.add(halves[1]!)
  }
  addText(text: string): void {
    this.add(text.length)
    for (let i = 0; i < text.length; i++) this.add(text.charCodeAt(i))
  }

  /** All words. */
  copy(): Int32Array {
    const words = new Int32Array(this.length)
    for (let i = 0; i < words.length; i++) words[i] = this.words[i]!
    return words
  }
  equals(words: Int32Array): boolean {
    if (words.length !== this.length) return false
    for (let i = 0; i < words.length; i++) if (words[i] !== this.words[i]) return false
    return true
  }
  /** Whether what was added from `begin` on is what was added at `earlier`. */
  repeats(begin: number, earlier: number): boolean {
    for (let i = begin; i < this.length; i++) if (this.words[i] !== this.words[earlier + i - begin]) return false
    return true
  }
  /** The same for equal words from `begin` on, and hardly ever for others. */
  hash(begin = 0): number {
    let hash = this.length - begin
    for (let i = begin; i < this.length; i++) {
      hash = Math.imul(hash ^ this.words[i]!, 0x9e3779b1)
      hash ^= hash >>> 15
    }
    return hash
  }
}
