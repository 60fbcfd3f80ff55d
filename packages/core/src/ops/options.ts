import { fail } from "../errors.ts"

/** Refuses an axis in the place of the options, which would be overlooked and all axes reduced, and unknown options. */
export function checkOptions(op: string, options: unknown, known: readonly string[] = ["axis", "keepDims"]): void {
  if (typeof options !== "object" || options === null || Array.isArray(options))
    fail("value", op, `options are an object, got ${Array.isArray(options) ? `[${options.join(", ")}]` : String(options)}`, "name the axis: { axis: 0 }")
  const stranger = Object.keys(options).find((k) => !known.includes(k))
  if (stranger !== undefined) fail("value", op, `has no option '${stranger}'`, `options are ${known.join(", ")}`)
}
