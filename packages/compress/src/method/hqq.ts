import type { Json, Numbered, Stores } from "@thimble/models"
import { affine } from "../format/affine.ts"
import type { ScaleType } from "../format/groups.ts"
import type { Bits } from "../format/packing.ts"
import { solveHqq as solve } from "../quantize/hqq.ts"
import type { Method } from "../recipe/method.ts"
import { cost } from "./target.ts"

export interface HqqMethodOptions<B extends Bits = Bits> {
  readonly bits: B
  /** Neighbours along a row that share a step and a zero point; 64 unless given. */
  readonly group?: number
  /** What steps and minima are stored in; f16 unless given. */
  readonly scales?: ScaleType
}

/** Half-quadratic quantization (Badri and Shaji, 2023): zero points that are fitted so that outliers count less. No data. */
export function hqq<B extends Bits>({ bits, group = 64, scales = "f16" }: HqqMethodOptions<B>): Method & Stores<Numbered<"affine", B>> {
  const format = affine(bits, { group, scales })
  return {
    name: "hqq",
    toJSON: (): Json => ({ method: "hqq", bits, group, scales }),
    target: (shape) => (shape[1] % group === 0 ? cost(format, shape) : { unfit: `groups of ${group} do not divide rows of ${shape[1]}` }),
    round({ values, shape }) {
      const { scales: steps, zeros } = solve(values, shape, { bits, group })
      return { stored: { format, parts: format.encodeOn(values, shape, steps, steps.map((s, g) => -zeros[g]! * s)) } }
    },
  }
}
