import type { DType, Scalar } from "./dtype.ts"
import type { Expr } from "./expr.ts"
import { showExpr } from "./walk.ts"
import type { Shape } from "./shape.ts"

/** How a reduction joins two values; `add` starts at 0, `mul` at 1, `max` at -∞ (or the smallest integer, or false). */
export type Combine = "add" | "mul" | "max"

/**
 * All a device ever sees. Parameter 0 is the output, written at the row-major position of the kernel's coordinates (or,
 * in a map, where that says); parameters 1… are read by `load(n, …)`. `index(axis)` runs over `shape` (and, in a reduction's body, over `over` after
 * it); a template's loads each have coordinates of their own, given by the template.
 */
export type Kernel = MapKernel | ReduceKernel | TemplateKernel

interface KernelBase {
  readonly shape: Shape
  /** Storage type of the output. */
  readonly dtype: DType
  /** Storage types of the parameters, the output first. */
  readonly parameters: readonly DType[]
  /** Elements of the parameters, the output first. Not part of the text: where memory is bounded by types and coordinates, kernels of equal text may differ in it. */
  readonly sizes: readonly number[]
  /** Types of the run-time scalars that `scalar(n)` reads. */
  readonly scalars: readonly Scalar[]
}
export interface MapKernel extends KernelBase {
  readonly kind: "map"
  readonly body: Expr
  /**
   * Where in the output, counted in elements, each value goes (i32): different places for different coordinates, all inside.
   * The rest of the output, which may be larger than `shape`, stays as it is.
   */
  readonly into?: Expr
}
export interface ReduceKernel extends KernelBase {
  readonly kind: "reduce"
  /** Sizes of the reduced axes; `body` sees them as the axes after those of `shape`. */
  readonly over: Shape
  readonly combine: Combine
  readonly body: Expr
  /** Computed once per output from `acc`. */
  readonly epilogue: Expr
}
export interface TemplateKernel extends KernelBase {
  readonly kind: "template"
  readonly name: string
  readonly dims: Readonly<Record<string, number>>
  /** The value of each operand at its coordinates, and the sizes of those coordinates. */
  readonly loads: Readonly<Record<string, Load>>
  /** Two of them side by side: what the second does not share has names with a 2 behind, and the epilogue sees `acc` 0 and 1. */
  readonly pair?: boolean
  readonly epilogue: Expr
}
export interface Load { readonly shape: Shape; readonly body: Expr }

const printed = new WeakMap<Kernel, string>()
/** One line per kernel; equal kernels print equally, so the text is also the key of kernel caches. Each object is printed once. */
export function showKernel(kernel: Kernel): string {
  let text = printed.get(kernel)
  if (text === undefined) printed.set(kernel, (text = print(kernel)))
  return text
}

function print(k: Kernel): string {
  const head = `${k.kind === "template" ? k.name : k.kind} [${k.shape}]${k.kind === "reduce" ? ` over [${k.over}] ${k.combine}` : ""}`
  const types = `(${k.parameters.join(" ")}${k.scalars.length ? ` | ${k.scalars.join(" ")}` : ""})`
  if (k.kind === "map") return `${head} ${types} { ${showExpr(k.body)} }${k.into === undefined ? "" : ` into { ${showExpr(k.into)} }`}`
  if (k.kind === "reduce") return `${head} ${types} { ${showExpr(k.body)} } -> { ${showExpr(k.epilogue)} }`
  const dims = Object.entries(k.dims).map(([n, v]) => `${n}=${v}`).join(" ")
  const loads = Object.entries(k.loads).map(([n, l]) => `${n}[${l.shape}]: ${showExpr(l.body)}`).join(" | ")
  return `${head} ${types} <${dims}> { ${loads} } -> { ${showExpr(k.epilogue)} }`
}
