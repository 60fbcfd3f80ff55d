import { quantizedWeight, quantizeWeight, uploadParts } from "@thimble/core"
import { expect, test } from "vitest"
import { encodeGguf, ggufTypes, openGguf, type GgufDType } from "../../formats/src/index.ts"
import { ggml, type GgmlName } from "../src/index.ts"

test("formats and GGUF files agree on the size of every type's blocks", () => {
  for (const [name, { block }] of Object.entries(ggml)) expect([name, block]).toEqual([name, { size: ggufTypes[name as GgufDType].size, bytes: ggufTypes[name as GgufDType].bytes }])
  // What files may hold without a format: integers, f64, and the types of activations.
  expect(Object.keys(ggufTypes).filter((t) => !(t in ggml)).sort()).toEqual(["F64", "I16", "I32", "I64", "I8", "Q8_1", "Q8_K"])
})

test("a weight goes into a GGUF file and comes back the same", async () => {
  const shape = [3, 256] as const, values = Float32Array.from({ length: 768 }, (_, i) => Math.sin(i))
  for (const name of ["Q4_K", "Q6_K", "IQ4_XS", "MXFP4"] as GgmlName[]) {
    const format = ggml[name]
    const pieces: Uint8Array[] = []
    for await (const p of encodeGguf({ metadata: new Map(), tensors: new Map([["w", { type: name, shape, bytes: format.join(format.encode(values, shape), shape) }]]) })) pieces.push(p)
    await using file = await openGguf(new Uint8Array(Buffer.concat(pieces)))
    const back = quantizedWeight(format, shape, uploadParts(format.split(await file.bytes("w"), shape)))
    expect(await back.dense().data()).toEqual(await quantizeWeight(format, values, shape).dense().data())
  }
})
