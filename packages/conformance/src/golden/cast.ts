import { castTo, type DType } from "@thimble/core"
import { openGolden } from "../golden.ts"
import { differences } from "../compare.ts"
import type { OpsManifest } from "./case.ts"

/** f32 tensors with their exact conversions; f16 and bf16 are compared bit by bit, but any NaN is as good as another. */
const conversions: readonly { from: string; to: DType; want: string }[] = [
  { from: "cast.in_f32", to: "f16", want: "cast.f16_bits" },
  { from: "cast.in_f32", to: "bf16", want: "cast.bf16_bits" },
  { from: "cast.i32_in", to: "i32", want: "cast.i32_out" },
]

/** What differs from the recorded conversions, one line each. */
export async function runCasts(): Promise<string[]> {
  const set = await openGolden<OpsManifest>("ops")
  const found: string[] = []
  for (const { from, to, want } of conversions) {
    const source = set.tensor({ tensor: from })
    const given = await source.data()
    const keep = (_: number, i: number): boolean => !Number.isNaN(given[i])
    const got = (await castTo(source, to).raw()).filter(keep), expected = (set.array(want) as Uint16Array).filter(keep)
    const difference = differences(got, expected, { relative: 0, absolute: 0 })
    if (difference !== undefined) found.push(`${to}: ${difference}`)
    if (to !== "i32" && (await castTo(source, to).data()).some((v, i) => Number.isNaN(given[i]) && !Number.isNaN(v))) found.push(`${to}: NaN is lost`)
  }
  return found
}
