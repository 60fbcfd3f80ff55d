import type { MatrixShape, QuantizedFormat } from "../quantizer.ts"
import type { Target } from "../recipe/method.ts"

/** What a matrix takes in a format, or why it does not fit; `ordered` where groups are of columns that are no neighbours, which are stored with their places. */
export function cost(format: QuantizedFormat, shape: MatrixShape, ordered = false): Target | { readonly unfit: string } {
  const { unit = 1 } = format
  if (shape[1] % unit !== 0) return { unfit: `rows of ${shape[1]} are not whole multiples of ${unit}, which ${format.name} needs` }
  return { format, bytes: format.storageBytes(shape) + (ordered && format.group < shape[1] ? 4 * shape[1] : 0) }
}
