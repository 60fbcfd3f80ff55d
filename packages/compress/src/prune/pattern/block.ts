import { fail } from "@thimble/core"
import type { BlockShape } from "@thimble/formats"
import type { SparsityPattern } from "../pattern.ts"
import { tiles } from "../tiles.ts"
import type { WithinOptions } from "./unstructured.ts"

/** Blocks of rows × columns neighbours, of which ⌊share·n⌋ go as wholes. */
export function block(shape: BlockShape, share: number, { within = "matrix" }: WithinOptions = {}): SparsityPattern {
  if (!shape.every((n) => Number.isInteger(n) && n >= 1)) fail("value", "block", `blocks of ${shape.join(" × ")}`, "whole numbers from 1 on")
  return tiles({ name: `blocks ${shape.join("×")}`, json: { pattern: "block", block: shape }, share, within, block: () => shape })
}
