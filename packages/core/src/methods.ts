import * as ops from "./ops/index.ts"
import { Tensor } from "./tensor.ts"
import { moveTo } from "./transfer.ts"
import type { Device } from "./device.ts"
import type { DType } from "./dtype.ts"

/** Functions that do not take a tensor first, and so are no methods. A test fails to compile while one is missing here. */
const functionsOnly = ["tensor", "fromBytes", "full", "zeros", "ones", "arange", "linspace", "cat", "stack", "meshgrid", "einsum", "rotation"] as const

type Ops = typeof ops
type FunctionsOnly = (typeof functionsOnly)[number]
/** The functions of `ops` that take a tensor first, as methods: `x.add(y)` is `add(x, y)`. */
export type Lifted = {
  readonly [K in Exclude<keyof Ops, FunctionsOnly> as Ops[K] extends (...all: never[]) => unknown ? K : never]:
    Ops[K] extends (first: infer _First, ...rest: infer R extends readonly unknown[]) => infer Y ? (...rest: R) => Y : never
}
/** Methods under a shorter name than their function's. */
export interface Shorthands {
  /** The last two axes exchanged; a tensor with fewer is returned as it is. */
  readonly T: Tensor
  /** Converts the dtype, as `castTo`. */
  cast(dtype: DType): Tensor
  /** The value on another device, as `moveTo`. */
  to(device: Device): Promise<Tensor>
}

/** Puts the methods on Tensor's prototype. */
export function installMethods(): void {
  const define = (name: string, descriptor: PropertyDescriptor): unknown => Object.defineProperty(Tensor.prototype, name, { configurable: true, ...descriptor })
  const others: ReadonlySet<string> = new Set(functionsOnly)
  for (const [name, fn] of Object.entries<unknown>(ops)) {
    if (typeof fn !== "function" || others.has(name)) continue
    define(name, { writable: true, value: function (this: Tensor, ...rest: unknown[]): unknown { return fn(this, ...rest) } })
  }
  define("cast", { writable: true, value: function (this: Tensor, dtype: DType) { return ops.castTo(this, dtype) } })
  define("to", { writable: true, value: function (this: Tensor, device: Device) { return moveTo(this, device) } })
  define("T", { get(this: Tensor) { return this.rank < 2 ? this : ops.transpose(this) } })
}
