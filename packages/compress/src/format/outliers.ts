import { fail, f16Bits, quantizedWeight, uploadParts, type Format, type QuantizedOptions, type Tensor, type Weight } from "@thimble/core"
import type { MatrixShape, Parts } from "../quantizer.ts"
import { int } from "./int.ts"

export interface OutlierOptions extends QuantizedOptions {
  /** Columns whose inputs reach far (6 or more, in LLM.int8()); they stay in f16. */
  readonly columns: readonly number[]
  /** What the others are stored in; int(8), a scale per row, unless given. */
  readonly format?: Format
}

/**
 * The parts of a matrix whose outlier columns stand apart: those of the format, with zeros in these columns, and `outliers.values`
 * (f16, [rows, count + 1], with a column of zeros at the end that stands for all others) and `outliers.columns`.
 */
export function outlierParts(values: Float32Array, shape: MatrixShape, far: readonly number[], format: Format): Parts {
  const [rows, columns] = shape
  if (values.length !== rows * columns) fail("shape", "splitOutliers", `${values.length} values for [${rows}, ${columns}]`)
  const wrong = far.find((c, i) => !(Number.isInteger(c) && c >= 0 && c < columns) || far.indexOf(c) !== i)
  if (wrong !== undefined) fail("index", "splitOutliers", `column ${wrong} is none of ${columns}, or stands twice`)
  const apart = values.slice(), kept = new Uint16Array(rows * (far.length + 1))
  far.forEach((c, k) => {
    for (let r = 0; r < rows; r++) {
      const v = values[r * columns + c]!, bits = f16Bits(v)
      if ((bits & 0x7c00) === 0x7c00) fail("value", "splitOutliers", `row ${r}, column ${c} is ${v}, which f16 does not hold`)
      kept[r * (far.length + 1) + k] = bits
      apart[r * columns + c] = 0
    }
  })
  return {
    ...format.encode(apart, shape),
    "outliers.values": { data: kept, shape: [rows, far.length + 1], dtype: "f16" },
    "outliers.columns": { data: Int32Array.from(far), shape: [far.length], dtype: "i32" },
  }
}
export const hasOutliers = (parts: Parts): boolean => "outliers.columns" in parts

/** The weight of {@link outlierParts}, on the current device. */
export function outliersApart(format: Format, [rows, columns]: MatrixShape, parts: Parts, options: QuantizedOptions = {}): Weight {
  const far = parts["outliers.columns"]!.data as Int32Array, place = new Int32Array(columns).fill(far.length), keep = new Float32Array(columns).fill(1)
  far.forEach((c, k) => {
    place[c] = k
    keep[c] = 0
  })
  const { "outliers.values": own, "outliers.columns": where, ...rest } = uploadParts({ ...parts, "outliers.place": { data: place, shape: [columns], dtype: "i32" }, "outliers.keep": { data: keep, shape: [columns], dtype: "f32" } })
  const { "outliers.place": placed, "outliers.keep": kept, ...stored } = rest
  return outlierWeight(quantizedWeight(format, [rows, columns], stored, options), { "outliers.values": own!, "outliers.columns": where!, "outliers.place": placed!, "outliers.keep": kept! }, format, options)
}

/**
 * A matrix whose outlier columns stay in f16, as LLM.int8() has it (Dettmers et al., arXiv 2208.07339): x · Wᵀ is the product
 * of the other columns, whose inputs can be rounded to int8 without an outlier to set their scale, and a small exact one.
 * The columns are those that calibration found, the same for every input.
 */
export const splitOutliers = (values: Float32Array, shape: MatrixShape, { columns, format = int(8), activations = "int8" }: OutlierOptions): Weight =>
  outliersApart(format, shape, outlierParts(values, shape, columns, format), { activations })

type Own = Readonly<Record<"outliers.values" | "outliers.columns" | "outliers.place" | "outliers.keep", Tensor>>

function outlierWeight(rest: Weight, own: Own, format: Format, options: QuantizedOptions): Weight {
  const values = own["outliers.values"], far = own["outliers.columns"], place = own["outliers.place"], keep = own["outliers.keep"], { shape } = rest
  const count = far.size
  return {
    form: `outliers ${count} ${rest.form}`,
    shape,
    bytes: rest.bytes + values.bytes + far.bytes,
    apply: (x) => (count === 0 ? rest.apply(x) : rest.apply(x.mul(keep)).add(x.take(far, -1).linear(values.slice([], [0, count]).cast("f32")))),
    rows: (ids) => rest.rows(ids).add(values.take(ids, 0).take(place, -1).cast("f32")),
    dense: () => rest.dense().add(values.take(place, 1).cast("f32")),
    parts: () => ({ ...rest.parts(), ...own }),
    withParts: (parts) => {
      const others = Object.fromEntries(Object.entries(parts).filter(([name]) => !(name in own)))
      return outlierWeight(quantizedWeight(format, shape, others, options), parts as Own, format, options) as never
    },
  }
}
