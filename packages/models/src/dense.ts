import { castTo, type DType, type TypedArray, type Weight } from "@thimble/core"

/** A matrix of plain elements, of the type it is stored in or of another; read when it is asked for, and nothing kept. */
export function asDense(weight: Weight, dtype?: DType): { readonly dtype: DType; readonly raw: () => Promise<TypedArray> } {
  if (typeof weight.storage === "string" && (dtype === undefined || dtype === weight.storage)) return { dtype: weight.storage, raw: () => weight.parts().values!.raw() }
  const type = dtype ?? "f32"
  return {
    dtype: type,
    async raw() {
      const values = weight.dense(), made = castTo(values, type)
      try {
        return await made.raw()
      } finally {
        // Whatever is not a part of the weight was made for this.
        const parts = Object.values(weight.parts())
        for (const t of [made, values]) if (!parts.includes(t)) t.dispose()
      }
    },
  }
}
