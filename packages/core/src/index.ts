/** @packageDocumentation The tensor engine: lazy tensors, gradients, compiled functions, and the reference device. */
import { defaultDevice } from "./device.ts"
import { referenceDevice } from "./reference.ts"

defaultDevice(referenceDevice)

export * from "./dtype.ts"
export * from "./errors.ts"
export * from "./shape.ts"
export * from "./device.ts"
export * from "./kernel.ts"
export * as expr from "./expr.ts"
export type { Expr } from "./expr.ts"
export { flatten, rebuild, rewrite, showExpr } from "./walk.ts"
export { Tensor, type Op, type Meaning, type Template, type Storage, type Host, type Nested } from "./tensor.ts"
export { apply, fromStorage } from "./tensor.ts"
export * from "./tree.ts"
export { memory, resetPeak, onLeaked, type MemoryReport } from "./memory.ts"
export { realize, explain } from "./realize.ts"
export { scope } from "./scope.ts"
export * from "./compile.ts"
export * from "./grad.ts"
export { referenceDevice, erf as erfOfNumber } from "./reference.ts"
export * from "./ops/index.ts"
