// Writes the body of one WebAssembly function. Instructions without immediates go through one typed method, `op(name)`;
// the rest have a method each. Nothing checks the operand stack here: `WebAssembly.validate` does, with a position.
import { Bytes } from "./bytes.ts"
import { atomic, lane, laneMemory, load, plain, store } from "./opcodes.ts"
import type { AtomicOp, LaneMemoryOp, LaneOp, LoadOp, PlainOp, StoreOp } from "./opcodes.ts"
import type { FunctionRef, GlobalRef, Signature, TableRef } from "./index.ts"

export const valueTypes = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b, funcref: 0x70 } as const
export type ValueType = keyof typeof valueTypes

/** A parameter or variable of one function. An object, so that it cannot be mistaken for a constant. */
export interface Local {
  readonly index: number
  readonly type: ValueType
}

/** A branch target: the depth of its construct, counted from the function body. */
export interface Label {
  readonly level: number
}

/** An i32 operand: a constant, a local, or code that pushes it. */
export type Index = number | Local | (() => void)

const opcode = { block: 0x02, loop: 0x03, if: 0x04, else: 0x05, end: 0x0b, br: 0x0c, brIf: 0x0d, brTable: 0x0e, call: 0x10,
  callIndirect: 0x11, get: 0x20, set: 0x21, tee: 0x22, globalGet: 0x23, globalSet: 0x24, memorySize: 0x3f,
  memoryGrow: 0x40, i32: 0x41, i64: 0x42, f32: 0x43, f64: 0x44, v128: 0xfd00c, shuffle: 0xfd00d, memoryCopy: 0xfc00a,
  memoryFill: 0xfc00b, fence: 0xfe003 } as const

export class FunctionBuilder {
  readonly params: readonly Local[]
  private code = new Bytes()
  private readonly opening = new Bytes()
  private readonly locals: ValueType[] = []
  private readonly typeIndex: (signature: Signature) => number
  private depth = 0

  /** Made by `ModuleBuilder.function`; `typeIndex` interns a signature in the module's type section. */
  constructor(params: readonly ValueType[], typeIndex: (signature: Signature) => number) {
    this.params = params.map((type, index) => ({ index, type }))
    this.typeIndex = typeIndex
  }

  /** A new variable; zero on entry to the function (but not on entry to a loop body). */
  local(type: ValueType): Local {
    this.locals.push(type)
    return { index: this.params.length + this.locals.length - 1, type }
  }

  /** Emits at the start of the function, whatever has been emitted since: for what is computed once per call. */
  atStart(body: () => void): void {
    const { code } = this
    this.code = this.opening
    body()
    this.code = code
  }

  // — instructions —

  op(...names: PlainOp[]): void {
    for (let i = 0; i < names.length; i++) this.emit(plain[names[i]!])
  }

  get(local: Local): void {
    this.emit(opcode.get)
    this.code.u32(local.index)
  }

  set(local: Local): void {
    this.emit(opcode.set)
    this.code.u32(local.index)
  }

  tee(local: Local): void {
    this.emit(opcode.tee)
    this.code.u32(local.index)
  }

  globalGet(global: GlobalRef): void {
    this.emit(opcode.globalGet)
    this.code.u32(global.index)
  }

  globalSet(global: GlobalRef): void {
    this.emit(opcode.globalSet)
    this.code.u32(global.index)
  }

  /** An i32 constant; −2³¹…2³²−1, so that addresses can be given unsigned. */
  i32(value: number): void {
    this.emit(opcode.i32)
    this.code.s32(value)
  }

  i64(value: bigint): void {
    this.emit(opcode.i64)
    this.code.s64(value)
  }

  f32(value: number): void {
    this.emit(opcode.f32)
    this.code.f32(value)
  }

  f64(value: number): void {
    this.emit(opcode.f64)
    this.code.f64(value)
  }

  v128const(bytes: ArrayLike<number>): void {
    if (bytes.length !== 16) throw new RangeError(`v128const: expected 16 bytes, got ${bytes.length}`)
    this.emit(opcode.v128)
    this.code.all(bytes)
  }

  /** A constant of four floats (four times the same when one is given). */
  f32x4(a: number, b = a, c = a, d = a): void {
    this.v128const(new Uint8Array(new Float32Array([a, b, c, d]).buffer))
  }

  /** A constant of four 32-bit integers (four times the same when one is given). */
  i32x4(a: number, b = a, c = a, d = a): void {
    this.v128const(new Uint8Array(new Int32Array([a, b, c, d]).buffer))
  }

  /** extract_lane and replace_lane. */
  lane(name: LaneOp, index: number): void {
    this.emit(lane[name])
    this.code.u8(index)
  }

  /** i8x16.shuffle: byte i of the result is byte lanes[i] of the 32 bytes of both operands. */
  shuffle(lanes: ArrayLike<number>): void {
    if (lanes.length !== 16) throw new RangeError(`shuffle: expected 16 lanes, got ${lanes.length}`)
    this.emit(opcode.shuffle)
    this.code.all(lanes)
  }

  /** A shuffle of 32-bit lanes: 0–3 of the first operand, 4–7 of the second. */
  shuffle32(a: number, b: number, c: number, d: number): void {
    this.shuffle([a, b, c, d].flatMap((i) => [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3]))
  }

  /** Stack: address → value. The offset is added to the address without wrapping. */
  load(name: LoadOp, offset = 0, log2Align: number = load[name][1]): void {
    this.access(load[name][0], log2Align, offset)
  }

  /** Stack: address, value →. */
  store(name: StoreOp, offset = 0, log2Align: number = store[name][1]): void {
    this.access(store[name][0], log2Align, offset)
  }

  /** Stack: address, vector → vector (load) or nothing (store). */
  laneMemory(name: LaneMemoryOp, index: number, offset = 0): void {
    this.access(laneMemory[name][0], laneMemory[name][1], offset)
    this.code.u8(index)
  }

  /** Loads, stores and read-modify-writes: address, operands → result. The address must be a multiple of the size. */
  atomic(name: AtomicOp, offset = 0): void {
    this.access(atomic[name][0], atomic[name][1], offset)
  }

  fence(): void {
    this.emit(opcode.fence)
    this.code.u8(0)
  }

  memorySize(): void {
    this.emit(opcode.memorySize)
    this.code.u8(0)
  }

  memoryGrow(): void {
    this.emit(opcode.memoryGrow)
    this.code.u8(0)
  }

  /** Stack: destination, source, bytes →. */
  memoryCopy(): void {
    this.emit(opcode.memoryCopy)
    this.code.u8(0).u8(0)
  }

  /** Stack: destination, byte value, bytes →. */
  memoryFill(): void {
    this.emit(opcode.memoryFill)
    this.code.u8(0)
  }

  call(callee: FunctionRef): void {
    this.emit(opcode.call)
    this.code.u32(callee.index)
  }

  /** Stack: arguments, position in the table → results. */
  callIndirect(signature: Signature, table: TableRef = { index: 0 }): void {
    this.emit(opcode.callIndirect)
    this.code.u32(this.typeIndex(signature)).u32(table.index)
  }

  // — control —

  block(body: (end: Label) => void, result?: ValueType): void {
    this.nest(opcode.block, body, result)
  }

  /** A branch to the label starts the body again. */
  loop(body: (again: Label) => void, result?: ValueType): void {
    this.nest(opcode.loop, body, result)
  }

  /** Stack: condition →. */
  if(then: (end: Label) => void, otherwise?: () => void, result?: ValueType): void {
    this.nest(opcode.if, (end) => {
      then(end)
      if (otherwise === undefined) return
      this.emit(opcode.else)
      otherwise()
    }, result)
  }

  /** To a label, or to the construct `target` levels out (0 = innermost). */
  br(target: Label | number): void {
    this.emit(opcode.br)
    this.code.u32(this.distance(target))
  }

  /** Stack: condition →. */
  brIf(target: Label | number): void {
    this.emit(opcode.brIf)
    this.code.u32(this.distance(target))
  }

  /** Stack: index →. Branches to targets[index], or to `otherwise` when the index is past the end. */
  brTable(targets: readonly (Label | number)[], otherwise: Label | number): void {
    this.emit(opcode.brTable)
    this.code.u32(targets.length)
    for (const target of [...targets, otherwise]) this.code.u32(this.distance(target))
  }

  // — structured helpers —

  /** Pushes a constant, a local or a computed value. */
  push(value: Index): void {
    if (typeof value === "number") this.i32(value)
    else if (typeof value === "function") value()
    else this.get(value)
  }

  /** local = value, for an i32. */
  assign(local: Local, value: Index): void {
    this.push(value)
    this.set(local)
  }

  /** local += value, for an i32. */
  increment(local: Local, value: Index): void {
    this.get(local)
    this.push(value)
    this.op("i32.add")
    this.set(local)
  }

  /** Pushes base + index · scale, for i32; constants fold, powers of two shift. */
  address(base: Index, index: Index, scale: number): void {
    this.push(base)
    if (typeof index === "number") {
      this.i32(Number(BigInt.asIntN(32, BigInt(index) * BigInt(scale))))
    } else {
      this.push(index)
      this.scale(scale)
    }
    this.op("i32.add")
  }

  /** Multiplies the i32 on the stack by a constant. */
  scale(factor: number): void {
    if (factor === 1) return
    const shift = Math.log2(factor)
    this.i32(Number.isInteger(shift) && shift > 0 ? shift : factor)
    this.op(Number.isInteger(shift) && shift > 0 ? "i32.shl" : "i32.mul")
  }

  /**
   * for (local = from; local < to; local += step), compared as signed: for indices, not for addresses.
   * `from` and `to` are evaluated once; after the loop the local is the first value ≥ to (from, when nothing ran).
   */
  forRange(local: Local, from: Index, to: Index, step: number, body: () => void): void {
    let bound = to
    if (typeof to === "function") {
      bound = this.local("i32")
      this.assign(bound, to)
    }
    this.assign(local, from)
    const certain = typeof from === "number" && typeof to === "number"
    if (certain && from >= to) return
    this.block((end) => {
      if (!certain) {
        this.get(local)
        this.push(bound)
        this.op("i32.ge_s")
        this.brIf(end)
      }
      this.loop((again) => {
        body()
        this.get(local)
        this.i32(step)
        this.op("i32.add")
        this.tee(local)
        this.push(bound)
        this.op("i32.lt_s")
        this.brIf(again)
      })
    })
  }

  /** The encoded body (local declarations and code), for the module's code section. */
  finish(): Bytes {
    const out = new Bytes()
    const runs: { type: ValueType; count: number }[] = []
    for (const type of this.locals) {
      const last = runs.at(-1)
      if (last?.type === type) last.count++
      else runs.push({ type, count: 1 })
    }
    out.u32(runs.length)
    for (const { type, count } of runs) out.u32(count).u8(valueTypes[type])
    return out.all(this.opening.data).all(this.code.data).u8(opcode.end)
  }

  private emit(code: number): void {
    if (code < 0x100) this.code.u8(code)
    else this.code.u8(code >>> 12).u32(code & 0xfff)
  }

  private access(code: number, log2Align: number, offset: number): void {
    this.emit(code)
    this.code.u32(log2Align).u32(offset)
  }

  private nest(code: number, body: (label: Label) => void, result: ValueType | undefined): void {
    this.emit(code)
    this.code.u8(result === undefined ? 0x40 : valueTypes[result])
    this.depth++
    body({ level: this.depth })
    this.depth--
    this.emit(opcode.end)
  }

  private distance(target: Label | number): number {
    return typeof target === "number" ? target : this.depth - target.level
  }
}
