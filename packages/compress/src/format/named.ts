import { fail } from "@thimble/core"
import type { QuantizedFormat } from "../quantizer.ts"
import { affine } from "./affine.ts"
import { fp4, nf4 } from "./bnb.ts"
import { codebook } from "./codebook.ts"
import { endsNamed } from "./ends.ts"
import { fp } from "./fp.ts"
import { ggml } from "./ggml.ts"
import type { Group, GroupOptions, ScaleType } from "./groups.ts"
import { int } from "./int.ts"
import { mx } from "./mx.ts"
import { nvfp4 } from "./nvfp4.ts"
import type { Bits } from "./packing.ts"
import type { SmallFloat } from "./small-float.ts"
import type { IntegerFormat } from "./integers.ts"
import { stochastic } from "./stochastic.ts"
import { binary, ternary } from "./ternary.ts"

/** What formats write of their groups and scales: `g32`, `t`, ` bf16`, or nothing where they are as usual. */
const group = (text: string | undefined): { readonly group?: Group } => (text === undefined ? {} : { group: text === "t" ? "tensor" : Number(text.slice(1)) })
const scales = (text: string | undefined): { readonly scales?: ScaleType } => (text === undefined ? {} : { scales: text as ScaleType })
const shared = (g: string | undefined, s: string | undefined): GroupOptions => ({ ...group(g), ...scales(s) })

/** Names that formats give themselves, and what makes them. */
const rows: readonly (readonly [pattern: RegExp, make: (...parts: (string | undefined)[]) => QuantizedFormat])[] = [
  [/^(.+) stochastic(?: (-?\d+))?$/, (of, seed) => stochastic(formatNamed(of!) as IntegerFormat, seed === undefined ? {} : { seed: Number(seed) })],
  [/^(u?)int(\d)(g\d+|t)?(?: (f32|bf16))?(?: ((?:mse|percentile|entropy).*))?$/, (kind, bits, g, s, ends) => int(Number(bits) as Bits, { ...shared(g, s), range: kind === "u" ? "asymmetric" : "symmetric", ends: (ends && endsNamed(ends)) || "whole" })],
  [/^affine(\d)(g\d+)?(?: (f32|bf16))?$/, (bits, g, s) => affine(Number(bits) as Bits, { group: "row", ...shared(g, s) })],
  [/^fp (e\dm\d) cast$/, (kind) => fp(kind as SmallFloat, { group: "none" })],
  [/^fp (e\dm\d)(g\d+|t)?(?: (f16|bf16))?$/, (kind, g, s) => fp(kind as SmallFloat, shared(g, s))],
  [/^mx (e\dm\d|int8)(?: (g\d+))?$/, (element, g) => mx(element as SmallFloat | "int8", group(g) as { group?: number })],
  [/^nvfp4$/, () => nvfp4()],
  [/^(nf4|fp4)(?: (g\d+|t))?( nested)?$/, (kind, g, twice) => (kind === "nf4" ? nf4 : fp4)({ ...(group(g) as { group?: number }), absmax: twice === undefined ? "f32" : "nested" })],
  [/^(ternary|binary)(g\d+|t)?(?: (f32|bf16))?$/, (kind, g, s) => (kind === "ternary" ? ternary : binary)(shared(g, s))],
  [/^codebook(\d)g(\d+)$/, (bits, g) => codebook(Number(bits) as 1, { group: Number(g) })],
]

/** The format of a name: `formatNamed(format.name)` is the same format again. */
export function formatNamed(name: string): QuantizedFormat {
  for (const [pattern, make] of rows) {
    const found = pattern.exec(name)
    if (found !== null) return make(...found.slice(1))
  }
  const own = Object.values(ggml).find((f) => f.name === name)
  if (own !== undefined && "laws" in own) return own as QuantizedFormat
  return fail("value", "formatNamed", `no format is called '${name}'`, "int4g128, uint3g64 bf16, fp e4m3, mx e2m1, nf4 nested, ternary, codebook4g256, Q4_K, …")
}
