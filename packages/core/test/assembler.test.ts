import { describe, expect, test } from "vitest"
import { Bytes } from "../src/assembler/bytes.ts"
import { ModuleBuilder } from "../src/assembler/index.ts"
import type { FunctionBuilder, Local, Signature, ValueType } from "../src/assembler/index.ts"
import { atomic, lane, laneMemory, load, plain, store } from "../src/assembler/opcodes.ts"

type Exported = Record<string, (...args: (number | bigint)[]) => number | bigint>

function instantiate(m: ModuleBuilder, imports: WebAssembly.Imports = {}): Exported {
  return new WebAssembly.Instance(new WebAssembly.Module(m.finish()), imports).exports as Exported
}

/** A module with one function `run` over a memory of one page. */
function run(params: ValueType[], results: ValueType[], body: (f: FunctionBuilder, ...params: Local[]) => void) {
  const m = new ModuleBuilder()
  m.export("memory", m.memory({ initial: 1 }))
  m.function(params, results, body, "run")
  const instance = new WebAssembly.Instance(new WebAssembly.Module(m.finish()))
  return {
    call: (...args: (number | bigint)[]) => (instance.exports as Exported).run!(...args),
    memory: (instance.exports.memory as WebAssembly.Memory).buffer,
  }
}

describe("encodings", () => {
  test("signed LEB128 survives a round trip through an i64 constant", () => {
    for (const value of [0n, 1n, -1n, 63n, 64n, -64n, -65n, 127n, 128n, 1n << 31n, -(1n << 31n), (1n << 63n) - 1n, -(1n << 63n)])
      expect(run([], ["i64"], (f) => f.i64(value)).call()).toBe(value)
  })

  test("i32 constants take signed and unsigned values", () => {
    for (const value of [0, -1, 63, 64, -64, -65, 8191, 8192, 2 ** 31 - 1, -(2 ** 31), 2 ** 31, 2 ** 32 - 1])
      expect(run([], ["i32"], (f) => f.i32(value)).call()).toBe(value | 0)
    expect(() => new Bytes().s32(2 ** 32)).toThrow(RangeError)
    expect(() => new Bytes().u32(0.5)).toThrow(RangeError)
  })

  test("unsigned LEB128", () => {
    expect([...new Bytes().u32(624485).data]).toEqual([0xe5, 0x8e, 0x26])
    expect([...new Bytes().u32(2 ** 32 - 1).data]).toEqual([0xff, 0xff, 0xff, 0xff, 0x0f])
  })

  test("floats", () => {
    for (const value of [0, -0, 1.5, NaN, Infinity, 1e-45]) {
      expect(run([], ["f32"], (f) => f.f32(value)).call()).toBe(Math.fround(value))
      expect(run([], ["f64"], (f) => f.f64(value)).call()).toBe(value)
    }
  })
})

/** What each instruction takes and gives, read off its name: enough to validate the whole table. */
function signature(name: string): Signature {
  const [prefix = "", operation = ""] = name.split(".")
  const vector = prefix.includes("x") || prefix === "v128"
  const scalarOf: Record<string, ValueType> = { i8x16: "i32", i16x8: "i32", i32x4: "i32", i64x2: "i64", f32x4: "f32", f64x2: "f64" }
  if (vector) {
    if (operation === "splat") return { params: [scalarOf[prefix]!], results: ["v128"] }
    if (/^(any_true|all_true|bitmask)$/.test(operation)) return { params: ["v128"], results: ["i32"] }
    if (/^(shl|shr_[su])$/.test(operation)) return { params: ["v128", "i32"], results: ["v128"] }
    if (/bitselect|laneselect|madd|relaxed_dot.*add/.test(operation)) return { params: ["v128", "v128", "v128"], results: ["v128"] }
    const unary = /^(not|abs|neg|popcnt|sqrt|ceil|floor|trunc|nearest|extend_|extadd|convert|demote|promote|relaxed_trunc|trunc_sat)/
    return { params: unary.test(operation) ? ["v128"] : ["v128", "v128"], results: ["v128"] }
  }
  const type = prefix as ValueType
  const from = /_(i32|i64|f32|f64)(_[su])?$/.exec(operation)?.[1] as ValueType | undefined
  if (from) return { params: [from], results: [type] }
  if (operation === "eqz") return { params: [type], results: ["i32"] }
  if (/^(eq|ne|lt|gt|le|ge)(_[su])?$/.test(operation)) return { params: [type, type], results: ["i32"] }
  const unary = /^(clz|ctz|popcnt|abs|neg|ceil|floor|trunc|nearest|sqrt|extend\d+_s)$/
  return { params: unary.test(operation) ? [type] : [type, type], results: [type] }
}

const validates = (body: (f: FunctionBuilder, ...params: Local[]) => void, { params, results }: Signature) => {
  const m = new ModuleBuilder()
  m.memory({ initial: 1, maximum: 1, shared: true })
  m.function(params, results, body)
  return WebAssembly.validate(m.finish())
}

describe("every opcode of the table validates with the types its name says", () => {
  const relaxed = validates((f, a) => { f.get(a); f.get(a); f.op("i8x16.relaxed_swizzle") }, { params: ["v128"], results: ["v128"] })
  const all = <T extends string>(table: Record<T, unknown>) => Object.keys(table) as T[]

  test("plain", () => {
    for (const name of all(plain)) {
      if (!name.includes(".") || (name.includes("relaxed") && !relaxed)) continue
      const s = signature(name)
      expect(validates((f, ...params) => { params.forEach((p) => f.get(p)); f.op(name) }, s), name).toBe(true)
    }
  })

  test("lanes", () => {
    for (const name of all(lane)) {
      const scalar: ValueType = name.startsWith("i64") ? "i64" : name.startsWith("f32") ? "f32" : name.startsWith("f64") ? "f64" : "i32"
      const s: Signature = name.includes("extract") ? { params: ["v128"], results: [scalar] } : { params: ["v128", scalar], results: ["v128"] }
      expect(validates((f, ...params) => { params.forEach((p) => f.get(p)); f.lane(name, 1) }, s), name).toBe(true)
    }
  })

  test("memory accesses", () => {
    const type = (name: string) => name.split(".")[0] as ValueType
    for (const name of all(load))
      expect(validates((f, a) => { f.get(a); f.load(name, 2 ** 32 - 1) }, { params: ["i32"], results: [type(name)] }), name).toBe(true)
    for (const name of all(store))
      expect(validates((f, a, b) => { f.get(a); f.get(b); f.store(name, 4) }, { params: ["i32", type(name)], results: [] }), name).toBe(true)
    for (const name of all(laneMemory))
      expect(validates((f, a, b) => { f.get(a); f.get(b); f.laneMemory(name, 1, 4) },
        { params: ["i32", "v128"], results: name.includes("load") ? ["v128"] : [] }), name).toBe(true)
    for (const name of all(atomic)) {
      const t: ValueType = name.includes("64") ? "i64" : "i32"
      const params: ValueType[] = name.endsWith("notify") ? ["i32", "i32"] : name.includes("wait") ? ["i32", t, "i64"]
        : name.endsWith("load") ? ["i32"] : name.endsWith("cmpxchg") ? ["i32", t, t] : ["i32", t]
      const results: ValueType[] = name.endsWith("store") ? [] : name.startsWith("memory") ? ["i32"] : [t]
      expect(validates((f, ...args) => { args.forEach((p) => f.get(p)); f.atomic(name, 8) }, { params, results }), name).toBe(true)
    }
  })
})

describe("instructions compute what they say", () => {
  test("a vector program: relaxed or plain, shuffle, lanes", () => {
    const { call, memory } = run(["i32"], ["f32"], (f, at) => {
      const v = f.local("v128")
      f.get(at)
      f.load("v128.load", 16)
      f.f32x4(1, 2, 3, 4)
      f.op("f32x4.mul")
      f.tee(v)
      f.get(v)
      f.shuffle32(3, 2, 5, 4)
      f.set(v)
      f.get(at)
      f.get(v)
      f.store("v128.store", 0)
      f.get(v)
      f.lane("f32x4.extract_lane", 0)
    })
    new Float32Array(memory, 16, 4).set([10, 20, 30, 40])
    expect(call(0)).toBe(160)
    expect([...new Float32Array(memory, 0, 4)]).toEqual([160, 90, 40, 10])
  })

  test("bulk memory, i32x4.dot and lane stores", () => {
    const { call, memory } = run([], [], (f) => {
      f.i32(64); f.i32(7); f.i32(16); f.memoryFill()
      f.i32(80); f.i32(64); f.i32(8); f.memoryCopy()
      f.i32(96)
      f.i32(64); f.load("v128.load8x8_s")
      f.i32(64); f.load("v128.load8x8_u")
      f.op("i32x4.dot_i16x8_s")
      f.laneMemory("v128.store32_lane", 2)
    })
    call()
    expect([...new Uint8Array(memory, 76, 16)]).toEqual([7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0])
    expect(new Int32Array(memory, 96, 1)[0]).toBe(98)
  })

  test("address folds constants and shifts powers of two", () => {
    for (const scale of [1, 4, 12])
      expect(run(["i32"], ["i32"], (f, i) => f.address(100, i, scale)).call(5)).toBe(100 + 5 * scale)
    expect(run(["i32"], ["i32"], (f, base) => f.address(base, 3, 2 ** 30)).call(1)).toBe((3 * 2 ** 30 + 1) | 0)
  })
})

describe("control", () => {
  test("forRange sums, also over empty and computed ranges", () => {
    const sum = run(["i32", "i32"], ["i32"], (f, from, to) => {
      const i = f.local("i32")
      const total = f.local("i32")
      f.forRange(i, from, () => { f.get(to); f.i32(1); f.op("i32.add") }, 2, () => f.increment(total, i))
      f.get(total)
    })
    expect(sum.call(0, 9)).toBe(0 + 2 + 4 + 6 + 8)
    expect(sum.call(5, 3)).toBe(0)
    const constant = run([], ["i32"], (f) => {
      const i = f.local("i32")
      const total = f.local("i32")
      f.forRange(i, 3, 3, 1, () => f.increment(total, 100))
      f.forRange(i, 0, 4, 1, () => f.increment(total, i))
      f.get(total)
    })
    expect(constant.call()).toBe(6)
  })

  test("labels count depth by themselves", () => {
    const { call } = run(["i32"], ["i32"], (f, x) => {
      f.block((done) => {
        f.loop((again) => {
          f.get(x)
          f.i32(100)
          f.op("i32.ge_u")
          f.if(() => f.br(done))
          f.increment(x, x)
          f.br(again)
        })
      })
      f.get(x)
    })
    expect(call(3)).toBe(192)
  })

  test("if … else with a result, select, br_table", () => {
    const pick = run(["i32"], ["f32"], (f, x) => {
      f.get(x)
      f.if(() => f.f32(1), () => f.f32(2), "f32")
    })
    expect([pick.call(0), pick.call(5)]).toEqual([2, 1])
    const table = run(["i32"], ["i32"], (f, x) => {
      const r = f.local("i32")
      f.block((end) => {
        f.block((one) => {
          f.block((zero) => {
            f.get(x)
            f.brTable([zero, one], end)
          })
          f.assign(r, 10)
          f.br(end)
        })
        f.assign(r, 20)
      })
      f.get(r)
    })
    expect([0, 1, 2, 9].map((x) => table.call(x))).toEqual([10, 20, 0, 0])
  })

  test("calls: imports, forward references, tables", () => {
    const m = new ModuleBuilder()
    const signature: Signature = { params: ["i32"], results: ["i32"] }
    const twice = m.importFunction("host", "twice", signature)
    const table = m.table({ initial: 2, maximum: 2 })
    const later = m.declare(signature.params, signature.results)
    m.function(signature.params, signature.results, (f, x) => { f.get(x); f.call(later); f.call(twice) }, "direct")
    m.define(later, (f, x) => { f.get(x); f.i32(1); f.op("i32.add") })
    m.function(["i32", "i32"], ["i32"], (f, which, x) => { f.get(x); f.get(which); f.callIndirect(signature, table) }, "indirect")
    m.element(0, [twice, later])
    const { direct, indirect } = instantiate(m, { host: { twice: (x: number) => 2 * x } })
    expect(direct!(5)).toBe(12)
    expect([indirect!(0, 5), indirect!(1, 5)]).toEqual([10, 6])
  })

  test("globals, data and a start function", () => {
    const m = new ModuleBuilder()
    m.memory({ initial: 1 })
    m.data(8, Uint8Array.of(1, 2, 3, 4))
    const counter = m.global("i32", 40)
    m.start(m.function([], [], (f) => { f.globalGet(counter); f.i32(2); f.op("i32.add"); f.globalSet(counter) }))
    m.function([], ["i32"], (f) => f.globalGet(counter), "counter")
    m.function([], ["i32"], (f) => { f.i32(0); f.load("i32.load", 8) }, "word")
    const { counter: read, word } = instantiate(m)
    expect(read!()).toBe(42)
    expect(word!()).toBe(0x04030201)
  })

  test("a declared function without a body is refused", () => {
    const m = new ModuleBuilder()
    m.declare([], [])
    expect(() => m.finish()).toThrow(/declared but not defined/)
  })
})

test("atomics on an imported shared memory", () => {
  const m = new ModuleBuilder()
  m.importMemory("env", "memory", { initial: 1, maximum: 1, shared: true })
  m.function(["i32"], ["i32"], (f, by) => {
    f.i32(0); f.get(by); f.atomic("i32.atomic.rmw.add", 4)
    f.op("drop")
    f.i32(4); f.i32(7); f.i32(9); f.atomic("i32.atomic.rmw.cmpxchg")
    f.fence()
    f.i32(4); f.i32(1); f.atomic("memory.atomic.notify")
    f.op("i32.add")
  }, "run")
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })
  const { run } = instantiate(m, { env: { memory } })
  expect(run!(7)).toBe(7)
  expect(new Int32Array(memory.buffer)[1]).toBe(9)
})
