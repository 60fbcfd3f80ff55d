import type fc from "fast-check"
import type { Tensor } from "@thimble/core"
import type { Gen, Made } from "./spec.ts"

/**
 * How far a device may be from the reference device. `exact`: the same bits, the sign of zero included. `ulps`: units in
 * the last place of each result. `scale`: a share of the largest result or operand, for what is summed. Infinities and
 * NaN must agree in every case.
 */
export type Bound = "exact" | { readonly ulps: number } | { readonly scale: number }
/** `twice`: its gradient can be differentiated, too. Otherwise why no gradient is checked. */
export type Gradient = "twice" | "once" | { readonly none: string }

export type Outputs = Tensor | readonly Tensor[]
/** An op: what it takes, how it is called, how exact it is, where it has gradients, and which sizes are worth timing. */
export interface Row {
  args(gen: Gen): fc.Arbitrary<unknown>
  call(args: never): Outputs | Promise<Outputs>
  readonly bound: Bound
  readonly gradient: Gradient
  readonly bench: unknown
  readonly corners?: readonly unknown[]
}

interface Typed<A> {
  readonly args: (gen: Gen) => fc.Arbitrary<A>
  readonly call: (args: Made<A>) => Outputs | Promise<Outputs>
  readonly bound: Bound
  readonly gradient: Gradient
  /** Arguments of a representative size. */
  readonly bench: NoInfer<A>
  /** Arguments that forward runs always try, before random ones. */
  readonly corners?: readonly NoInfer<Readonly<A>>[]
}
/** Checks that the parts of a row fit each other. */
export const row = <A>(typed: Typed<A>): Row => typed as unknown as Row

export const exact = "exact" satisfies Bound
export const ulps = (n: number): Bound => ({ ulps: n })
export const scale = (share: number): Bound => ({ scale: share })
export const noGradient = (none: string): Gradient => ({ none })
