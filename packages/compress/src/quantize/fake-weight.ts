import { decode, encode, fail, linear, quantizedWeight, quantizeWeight, roundHalfEven, seenActivations, take, uploadParts, type Activations, type QuantizedOptions, type Tensor, type Weight } from "@thimble/core"
import type { MatrixShape, QuantizedFormat } from "../quantizer.ts"
import { precision } from "../format/groups.ts"
import type { IntegerFormat } from "../format/integers.ts"
import { fakeQuantize } from "./fake.ts"
import { lsqQuantize, type Steps } from "./lsq.ts"

/** A matrix that trains in f32 and computes with what will be stored. */
export interface FakeWeight extends Weight {
  /** The matrix stored, as it is now. */
  stored(): Promise<Weight>
}
export const isFake = (weight: Weight): weight is FakeWeight => "stored" in weight

/** How a matrix is made of what trains, and how it is stored. */
export interface FakeKind {
  readonly form: string
  readonly shape: MatrixShape
  readonly parts: Readonly<Record<string, Tensor>>
  /** The matrix, in f32. */
  rounded(): Tensor
  stored(): Promise<Weight>
  again(parts: Readonly<Record<string, Tensor>>): FakeWeight
}

export function fakeWeight(activations: Activations, { form, shape, parts, rounded, stored, again }: FakeKind): FakeWeight {
  // A scale among the parts would be trained.
  if (typeof activations === "object" && typeof activations.scale !== "number") fail("value", "prepare", "scales of activations are numbers while a model trains", "read the tensor's item()")
  let made: Tensor | undefined
  // One node, where a matrix is both embedding and head.
  const dense = (): Tensor => (made === undefined || made.disposed ? (made = rounded()) : made)
  return {
    form: `fake ${form}[${shape.join()}] ${JSON.stringify(activations)}`,
    shape,
    bytes: Object.values(parts).reduce((n, t) => n + t.bytes, 0),
    apply: (x) => linear(seenActivations(x, activations), dense()),
    rows: (ids) => take(dense(), ids, 0),
    dense,
    parts: () => parts,
    withParts: (p) => again(p) as never,
    stored,
  }
}

/** Values that are rounded as a format would store them, its scales found anew each time. */
export function roundedWeight(values: Tensor, format: QuantizedFormat, { activations = "f32" }: QuantizedOptions = {}): FakeWeight {
  const shape = values.shape as [number, number]
  return fakeWeight(activations, {
    form: format.name, shape, parts: { values },
    rounded: () => fakeQuantize(values, format),
    stored: async () => quantizeWeight(format, (await values.data()) as Float32Array, shape, { activations }),
    again: (p) => roundedWeight(p.values!, format, { activations }),
  })
}

/** Values and steps that learn: {@link lsqQuantize}. */
export function steppedWeight(values: Tensor, { steps, zeros }: Steps, format: IntegerFormat, { activations = "f32" }: QuantizedOptions = {}): FakeWeight {
  const shape = values.shape as [number, number]
  return fakeWeight(activations, {
    form: `steps ${format.name}`, shape, parts: { values, steps, ...(zeros && { zeros }) },
    rounded: () => lsqQuantize(values, { steps, ...(zeros && { zeros }) }, format),
    async stored() {
      const own = [await values.data(), await steps.data(), await zeros?.data()] as [Float32Array, Float32Array, Int32Array | undefined]
      return quantizedWeight(format, shape, uploadParts(packSteps(format, shape, ...own), values.device), { activations })
    },
    again: (p) => steppedWeight(p.values!, { steps: p.steps!, ...(zeros && { zeros: p.zeros! }) }, format, { activations }),
  })
}

/** What is stored of values and steps: the codes that {@link lsqQuantize} computes with. */
function packSteps({ name, integers: { low, high, scales, groups, pack } }: IntegerFormat, shape: MatrixShape, values: Float32Array, steps: Float32Array, zeros: Int32Array | undefined): ReturnType<typeof pack> {
  const codes = new Int16Array(values.length), found = steps.map((s) => decode(scales, encode(scales, Math.max(s, precision[scales].least))))
  groups.each(shape, (g, from, to) => {
    const s = found[g]!, z = zeros?.[g] ?? 0
    if (!(s < Infinity)) fail("numeric", "convert", `group ${g} of ${name} learned a step of ${steps[g]}`, "train with a lower rate, or store scales in f32")
    for (let i = from; i < to; i++) {
      const w = values[i]!
      if (!Number.isFinite(w)) fail("numeric", "convert", `row ${Math.floor(i / shape[1])}, column ${i % shape[1]} is ${w}`, "train with a lower rate")
      codes[i] = Math.max(low, Math.min(high, roundHalfEven(w / s) + z))
    }
  })
  return pack(codes, found, zeros && Int16Array.from(zeros), shape)
}
