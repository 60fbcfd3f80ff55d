// Training of what is stored beside codes: packed weights whose scales and minima move, while codes stay (as MLX's DWQ does).
import { add, castTo, decodeParts, expand, expr, fail, isFloat, mul, partReader, quantizedWeight, quantizeWeight, realize, reshape, type DType, type Format, type PartReader, type QuantizedOptions, type Tensor } from "@thimble/core"
import { fromGroups } from "../format/integers.ts"
import type { MatrixShape, QuantizedFormat } from "../quantizer.ts"
import { fakeWeight, type FakeWeight } from "./fake-weight.ts"
import { straightThrough } from "./fake.ts"
import type { Trainable } from "./qat.ts"

type Parts = Readonly<Record<string, Tensor>>
/** Which parts hold the scale and the minimum of each group, and what they are stored in. */
interface Learns { readonly scale: string; readonly min?: string; readonly stored: Readonly<Record<string, DType>> }

/**
 * Trains scales, and minima where there are some, of matrices as they are stored; codes stay. `format` is what matrices are
 * rounded to first; without it they must be stored already, by whatever method found their codes. It takes a few thousandths of the
 * memory for gradients and moments that training of values takes, and keeps the codes' packing throughout.
 */
export function tuned(format?: QuantizedFormat): Trainable {
  return {
    async prepared(weight, path, { activations = "f32" }) {
      const from = format === undefined ? weight : quantizeWeight(format, (await weight.dense().data()) as Float32Array, weight.shape)
      if (typeof from.storage !== "object") fail("value", "tuned", `${path} is not stored in a format`, "name one: tuned(int(4))")
      const learns = learnsOf(from.storage as Format, from.shape, from.parts())
      if (learns === undefined) fail("value", "tuned", `${path} is stored in ${(from.storage as Format).name}, whose scales are no numbers of their own`, "int() and affine() have such scales")
      const parts = Object.fromEntries(Object.entries(from.parts()).map(([name, t]) => [name, name in learns!.stored ? mul(castTo(t, "f32"), 1) : format === undefined ? mul(t, 1) : t]))
      await realize(...Object.values(parts))
      return tunedWeight(from.storage as Format, from.shape, parts, learns!, { activations })
    },
  }
}

/** What of stored parts is a group's scale and its minimum; undefined where they are made of more than one number each, or of none that is a float. */
function learnsOf(format: Format, [rows, columns]: MatrixShape, parts: Parts): Learns | undefined {
  const names = Object.keys(parts)
  const partOf = (piece: NonNullable<Format["scale"]>): string | undefined => {
    const found: string[] = []
    const read: PartReader = (name, ...at) => {
      found.push(name)
      return partReader(names, 0, (source, coords) => {
        const { shape, dtype } = Object.values(parts)[source]!
        return expr.load(source, dtype, coords.reduce((flat, c, i) => expr.add(expr.mul(flat, expr.int(shape[i]!)), c), expr.int(0)))
      })(name, ...at)
    }
    expr.freshExprs(() => piece(read, expr.index(0, rows), expr.index(1, columns)))
    const t = parts[found[0] ?? ""]
    return found.length === 1 && t !== undefined && isFloat(t.dtype) && t.rank === 2 ? found[0] : undefined
  }
  const scale = partOf(format.scale.bind(format)), min = format.min && partOf(format.min.bind(format))
  if (scale === undefined || (format.min !== undefined && min === undefined)) return undefined
  return { scale, ...(min !== undefined && { min }), stored: Object.fromEntries([scale, ...(min === undefined ? [] : [min])].map((name) => [name, parts[name]!.dtype])) }
}

function tunedWeight(format: Format, shape: MatrixShape, parts: Parts, learns: Learns, options: QuantizedOptions): FakeWeight {
  const { activations = "f32" } = options, names = Object.keys(parts)
  // What codes stand for on a scale of 1, read from where they are packed.
  const { min: _, ...rest } = format
  const steps: Format = { ...rest, name: `steps of ${format.name}`, scale: () => expr.constant("f32", 1) }
  const stored = (name: string): Tensor => straightThrough(parts[name]!, castTo(castTo(parts[name]!, learns.stored[name]!), "f32"))
  return fakeWeight(activations, {
    form: `tuned ${format.name}`, shape, parts,
    rounded() {
      const scaled = mul(decodeParts({ format: steps, shape, names }, Object.values(parts)), overGroups(stored(learns.scale), format.group, shape))
      return learns.min === undefined ? scaled : add(scaled, overGroups(stored(learns.min), format.group, shape))
    },
    async stored() {
      const own: Record<string, Tensor> = { ...parts }
      for (const [name, dtype] of Object.entries(learns.stored)) {
        const narrow = castTo(parts[name]!, dtype), strange = (await castTo(narrow, "f32").data()).findIndex((v) => !Number.isFinite(v))
        if (strange >= 0) fail("numeric", "convert", `'${name}' of group ${strange} of ${format.name} became ${(await parts[name]!.data())[strange]}`, "train with a lower rate, or store scales in f32")
        own[name] = narrow
      }
      await realize(...Object.values(own))
      return quantizedWeight(format, shape, own, { activations })
    },
    again: (p) => tunedWeight(format, shape, p, learns, options),
  })
}

/** A number for each group as a number for each element. */
function overGroups(x: Tensor, group: number, shape: MatrixShape): Tensor {
  const [rows, groups] = x.shape as [number, number], [, columns] = shape
  const members = rows !== shape[0] ? shape[0] * columns : Math.min(group, columns)
  return fromGroups(expand(reshape(x, [rows, groups, 1]), [rows, groups, members]), shape)
}
