import { add, grad, isFloat, mul, reshape, sum, type Tensor } from "@thimble/core"
import type { GoldenReference, GoldenSet } from "../golden.ts"
import { differences, type Tolerance } from "../compare.ts"

/** Inputs of a case by name; those of a list `xs` are named `xs.0`, `xs.1`, … */
export type Inputs = Readonly<Record<string, Tensor>>
export type Outputs = Tensor | readonly Tensor[]
/** How a golden op is spelled here. Each row states the parameters that it reads. */
export type Row = (inputs: Inputs, params: never) => Outputs | Promise<Outputs>

/** A recorded call: the forward values, and the gradients of Σ over outputs of ⟨output, grad_output⟩. */
export interface Case {
  readonly id: string
  readonly op: string
  readonly inputs?: Readonly<Record<string, GoldenReference | readonly GoldenReference[]>>
  readonly input_shapes?: Readonly<Record<string, readonly number[]>>
  readonly params?: object
  readonly outputs?: readonly Recorded[]
  readonly grads?: readonly (Recorded & { readonly input: string; readonly index?: number })[]
  readonly tags?: readonly string[]
  readonly expect_error?: boolean
}
interface Recorded {
  /** null: no gradient flows, as zeros. */
  readonly tensor: string | null
  /** How far the recorded f32 values are from the same code in f64. */
  readonly f32_vs_f64_maxabs?: number
  readonly grad_output?: string
}
export interface OpsManifest { readonly cases: readonly Case[] }

export function inputsOf(set: GoldenSet<OpsManifest>, { inputs = {} }: Case): Inputs {
  const out: Record<string, Tensor> = {}
  for (const [name, given] of Object.entries(inputs)) {
    if (Array.isArray(given)) given.forEach((g, i) => (out[`${name}.${i}`] = set.tensor(g)))
    else out[name] = set.tensor(given as GoldenReference)
  }
  return out
}

export async function call(row: Row, inputs: Inputs, params: object = {}): Promise<readonly Tensor[]> {
  const out = await (row as (inputs: Inputs, params: object) => Outputs | Promise<Outputs>)(inputs, params)
  return Array.isArray(out) ? (out as readonly Tensor[]) : [out as Tensor]
}

/** Runs a case; gives what differs from the record, one line per tensor, and nothing if all is well. */
export async function runCase(set: GoldenSet<OpsManifest>, c: Case, row: Row): Promise<string[]> {
  const inputs = inputsOf(set, c)
  const outputs = await call(row, inputs, c.params)
  const want = c.outputs ?? []
  if (outputs.length !== want.length) return [`${outputs.length} outputs instead of ${want.length}`]
  const found: string[] = []
  for (const [i, w] of want.entries()) found.push(...(await check(set, `output ${i}`, outputs[i]!, w, c)))
  const targets = (c.grads ?? []).filter(({ input }) => input !== held[c.id])
  if (targets.length === 0) return found
  const seeded = outputs.flatMap((y, i) => {
    const name = want[i]!.grad_output
    return name === undefined ? [] : [sum(mul(y, reshape(set.tensor({ tensor: name }), y.shape)))]
  })
  const loss = seeded.reduce(add)
  const sources = targets.map(({ input, index }) => inputs[index === undefined ? input : `${input}.${index}`]!)
  const grads = grad(loss, sources)
  for (const [i, w] of targets.entries()) found.push(...(await check(set, `gradient of ${w.input}${w.index === undefined ? "" : `.${w.index}`}`, grads[i]!, w, c)))
  return found
}

/** Inputs that were recorded as constants, though the op has a gradient for them. */
const held: Readonly<Record<string, string>> = { "kl_div.4": "t", "cross_entropy_prob.0": "t" }

async function check(set: GoldenSet<OpsManifest>, what: string, got: Tensor, recorded: Recorded, c: Case): Promise<string[]> {
  if (recorded.tensor === null) return report(what, differences(await got.data(), new Float32Array(got.size), exact))
  const { dtype, shape } = set.manifest.tensors[recorded.tensor]!
  // The record has no 0-d tensors; it writes them as [1].
  const ours = got.rank === 0 ? [1] : got.shape
  if (got.dtype !== dtype || String(ours) !== String(shape)) return [`${what}: ${got.dtype}[${ours}] instead of ${dtype}[${shape}]`]
  const drift = recorded.f32_vs_f64_maxabs
  const tolerance = c.tags?.includes("special") ? special : drift === undefined ? close : { relative: 1e-5, absolute: 10 * drift }
  return report(what, differences(await got.data(), set.array(recorded.tensor) as ArrayLike<number>, isFloat(got.dtype) ? tolerance : exact))
}

const exact: Tolerance = { relative: 0, absolute: 0 }
/** Four units in the last place. */
const close: Tolerance = { relative: 4 * 2 ** -23, absolute: 0 }
/** A set of special values is there for its NaN, infinities and zeros; what cancels to almost nothing is a zero. */
const special: Tolerance = { ...close, absolute: 2 ** -23 }

const report = (what: string, difference: string | undefined): string[] => (difference === undefined ? [] : [`${what}: ${difference}`])
