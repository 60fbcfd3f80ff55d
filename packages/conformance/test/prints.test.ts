import { afterAll, beforeAll, describe, expect, test } from "vitest"
import {
  adam, add, attention, castTo, conv2d, crossEntropy, embedding, explain, gelu, grad, layerNorm, linear, matmul, mul, quantizeWeight, referenceDevice, relu, rmsNorm, rope, silu, softmax, sum, tensor,
  transpose, useDevice, vmap, type Device, type Tensor,
} from "@thimble/core"
import { open } from "@thimble/kernels"
import { outline } from "../src/outline.ts"
import { bytes, nibbles } from "../src/table/product.ts"

const x = (...shape: number[]): Tensor => tensor(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)), { shape })
const ids = (...list: number[]): Tensor => tensor(list, { dtype: "i32" })
const weight = (format: typeof nibbles, rows: number, columns: number, activations: "f32" | "int8" = "f32") =>
  quantizeWeight(format, new Float32Array(rows * columns).fill(0.5), [rows, columns], { activations })

/** Graphs that models are made of, and what must stay fused in them. */
const graphs = {
  /** One kernel: bias and gelu are the product's epilogue. */
  layer: () => [gelu(linear(x(6, 8), x(4, 8), x(4)))],
  /** The gate and its product are one epilogue. */
  gated: () => [mul(silu(linear(x(6, 8), x(4, 8))), linear(x(6, 8), x(4, 8)))],
  softmax: () => [softmax(x(6, 8))],
  layerNorm: () => [layerNorm(x(6, 8), x(8), x(8))],
  /** The sum is stored once: the next layers read it, too. */
  residual: () => {
    const h = add(x(6, 8), linear(x(6, 8), x(8, 8)))
    return [h, rmsNorm(h, x(8))]
  },
  /** No decoded matrix is stored: codes, scales and minimums are read inside of the product. */
  quantized: () => [weight(nibbles, 8, 32).apply(x(6, 32))],
  /** On integers where there is a kernel for it. */
  integers: () => [weight(bytes, 8, 32, "int8").apply(x(2, 32))],
  /** One kernel per moment and parameter, and none for the rest. */
  adam: () => {
    const rule = adam({ rate: 0.01 }), p = [x(8, 8)]
    const { parameters, state } = rule.update(p, [x(8, 8)], rule.init(p))
    return [parameters[0]!, ...Object.values(state.first), ...Object.values(state.second)]
  },
  attention: () => [attention(x(1, 2, 4, 8), x(1, 2, 4, 8), x(1, 2, 4, 8), { causal: true })],
  rope: () => [rope(x(2, 4, 8))],
  /** Look-up, and its transpose. */
  embedding: () => {
    const table = x(5, 8), y = embedding(table, ids(1, 3, 1))
    return [y, ...grad(sum(mul(y, y)), [table])]
  },
  /** The patches are read in place. */
  convolution: () => [relu(conv2d(x(1, 2, 6, 6), x(3, 2, 3, 3), x(3)))],
  /** Loss and gradient of a classifier: no row of probabilities is stored twice. */
  loss: () => {
    const w = x(5, 8), logits = linear(x(3, 8), w)
    const value = crossEntropy(logits, ids(1, 0, 4))
    return [value, ...grad(value, [w])]
  },
  /** Types are changed while reading and writing. */
  half: () => [castTo(matmul(castTo(x(4, 4), "f16"), transpose(castTo(x(4, 4), "f16"))), "f16")],
} satisfies Record<string, () => Tensor[]>

const printed = (graph: keyof typeof graphs): string => `\n${outline(explain(...graphs[graph]()))}\n`

describe("the reference device expands everything", () => {
  beforeAll(() => void useDevice(referenceDevice()))
  test("layer", () => expect(printed("layer")).toMatchInlineSnapshot(`
    "
    out0 = reduce [1,6,4,1] over [8] add (f32 f32 f32 f32) {p1 p2 mul} -> {p3 add mul erf} (b1, b2, b3)
    places: none
    "
  `))
  test("gated", () => expect(printed("gated")).toMatchInlineSnapshot(`
    "
    t0 = reduce [1,6,4,1] over [8] add (f32 f32 f32) {p1 p2 mul} -> {acc} (b1, b2)
    out0 = reduce [1,6,4,1] over [8] add (f32 f32 f32 f32) {p1 p2 mul} -> {p3 add mul div exp neg} (b4, b5, t0)
    places: 96
    "
  `))
  test("softmax", () => expect(printed("softmax")).toMatchInlineSnapshot(`
    "
    t0 = reduce [6,1] over [8] max (f32 f32) {p1} -> {acc} (b1)
    t1 = map [6,8] (f32 f32 f32) {p1 p2 exp sub} (b1, t0)
    t0 = reduce [6,1] over [8] add (f32 f32) {p1} -> {acc} (t1)
    out0 = map [6,8] (f32 f32 f32) {p1 p2 div} (t1, t0)
    places: 24 192
    "
  `))
  test("layerNorm", () => expect(printed("layerNorm")).toMatchInlineSnapshot(`
    "
    t0 = reduce [6,1] over [8] add (f32 f32) {p1} -> {div} (b1)
    t1 = reduce [6,1] over [8] add (f32 f32 f32) {p1 p2 sub add mul} -> {div sqrt add} (b1, t0)
    out0 = map [6,8] (f32 f32 f32 f32 f32 f32) {p1 p2 p3 p4 p5 add mul sub} (b1, t0, t1, b4, b5)
    places: 24 24
    "
  `))
  test("residual", () => expect(printed("residual")).toMatchInlineSnapshot(`
    "
    out0 = reduce [1,6,8,1] over [8] add (f32 f32 f32 f32) {p1 p2 mul} -> {p3 add} (b1, b2, b3)
    t0 = reduce [6,1] over [8] add (f32 f32) {p1 add mul} -> {div sqrt add} (out0)
    out1 = map [6,8] (f32 f32 f32 f32) {p1 p2 p3 mul} (out0, t0, b6)
    places: 24
    "
  `))
  test("quantized", () => expect(printed("quantized")).toMatchInlineSnapshot(`
    "
    out0 = reduce [1,6,8,1] over [32] add (f32 f32 u8 f16 f32) {p1 p2 p3 p4 div add mul cast rem shr} -> {acc} (b1, b2, b3, b4)
    places: none
    "
  `))
  test("integers", () => expect(printed("integers")).toMatchInlineSnapshot(`
    "
    t0 = reduce [2,1,1] over [32] max (f32 f32) {p1 abs} -> {acc} (b1)
    t1 = map [2,1,1] (f32 f32) {p1 select eq div} (t0)
    t2 = map [2,1,1] (f32 f32) {p1 div} (t0)
    t3 = map [2,1,32] (f32 f32 f32 f32) {p1 p2 p3 mul round} (b1, t1, t2)
    out0 = reduce [1,2,8,1] over [32] add (f32 f32 i8 f16) {p1 p2 p3 mul cast} -> {acc} (t3, b6, b7)
    places: 8 8 8 256
    "
  `))
  test("adam", () => expect(printed("adam")).toMatchInlineSnapshot(`
    "
    out1 = map [8,8] (f32 f32) {p1 add mul} (b1)
    out2 = map [8,8] (f32 f32) {p1 add mul} (b1)
    out0 = map [8,8] (f32 f32 f32 f32) {p1 p2 p3 add mul tanh sub div neg select lt abs exp sqrt} (b4, out1, out2)
    places: none
    "
  `))
  test("attention", () => expect(printed("attention")).toMatchInlineSnapshot(`
    "
    t0 = map [4,1] (i32) {i0} ()
    t1 = map [4,4] (bool i32) {p1 le} (t0)
    t2 = reduce [2,4,4,1] over [8] add (f32 f32 f32 bool) {p1 p2 mul add} -> {p3 select mul} (b3, b4, t1)
    t3 = reduce [8,1] over [4] max (f32 f32) {p1} -> {acc} (t2)
    t4 = map [8,4] (f32 f32 f32) {p1 p2 exp sub} (t2, t3)
    t3 = reduce [8,1] over [4] add (f32 f32) {p1} -> {acc} (t4)
    t2 = map [8,4] (f32 f32 f32) {p1 p2 div} (t4, t3)
    out0 = reduce [2,4,8,1] over [4] add (f32 f32 f32) {p1 p2 mul} -> {acc} (t2, b10)
    places: 16 16 128 32 128
    "
  `))
  test("rope", () => expect(printed("rope")).toMatchInlineSnapshot(`
    "
    t0 = map [4] (f32) {add cast} ()
    t1 = map [4] (f32) {exp mul add cast} ()
    t2 = map [4,4] (f32 f32 f32) {p1 p2 mul} (t0, t1)
    t3 = map [4,4] (f32 f32) {p1 cos} (t2)
    t4 = map [4,4] (f32 f32) {p1 sin} (t2)
    t0 = map [2] (f32) {sub mul add cast} ()
    t5 = map [4,2,4] (f32 f32 f32) {p1 p2 mul} (t4, t0)
    out0 = map [2,4,8] (f32 f32 f32 f32) {p1 p2 p3 mul add rem div} (b8, t3, t5)
    places: 16 16 64 64 64 128
    "
  `))
  test("embedding", () => expect(printed("embedding")).toMatchInlineSnapshot(`
    "
    out0 = map [3,8] (f32 i32 f32) {p1 p2 add mul div rem} (b1, b2)
    t0 = map [3,8] (f32 f32) {p1 add mul} (out0)
    out1 = reduce [1,5,1,8] over [3] add (f32 i32 f32) {p1 p2 select eq} -> {acc} (b1, t0)
    places: 96
    "
  `))
  test("convolution", () => expect(printed("convolution")).toMatchInlineSnapshot(`
    "
    out0 = reduce [1,3,16,1] over [18] add (f32 f32 f32 f32) {p1 p2 mul} -> {p3 max add} (b1, b2, b3)
    places: none
    "
  `))
  test("loss", () => expect(printed("loss")).toMatchInlineSnapshot(`
    "
    t0 = reduce [1,3,5,1] over [8] add (f32 f32 f32) {p1 p2 mul} -> {acc} (b1, b2)
    t1 = reduce [3,1] over [5] max (f32 f32) {p1} -> {acc} (t0)
    t2 = reduce [3,1] over [5] add (f32 f32 f32) {p1 p2 exp sub} -> {log} (t0, t1)
    t3 = reduce [1,1] over [3,1] add (f32 i32) {p1 cast not eq} -> {acc} (b6)
    out0 = reduce [1,1] over [3,1] add (f32 i32 f32 f32 f32 f32) {p1 p2 p3 p4 select not eq sub and le lt add mul max min} -> {p5 div} (b6, t2, t0, t1, t3)
    t4 = map [3,1] (bool i32) {p1 not eq} (b6)
    t5 = map [] (f32 f32) {p1 div} (t3)
    t6 = map [3,5] (f32 bool f32 f32 f32 f32 i32) {p1 p2 p3 p4 p5 p6 select mul sub exp eq} (t4, t5, t0, t1, t2, b6)
    t7 = reduce [1,8,5,1] over [3] add (f32 f32 f32) {p1 p2 mul} -> {acc} (b1, t6)
    out1 = map [5,8] (f32 f32) {p1} (t7)
    places: 60 12 12 4 3 4 60 160
    "
  `))
  test("half", () => expect(printed("half")).toMatchInlineSnapshot(`
    "
    out0 = reduce [1,4,4,1] over [4] add (f16 f32 f32) {p1 p2 mul} -> {store.f16(acc)} (b1, b2)
    places: none
    "
  `))
})

describe("the wasm device", () => {
  let device: Device
  beforeAll(async () => void (device = await open("wasm", { threads: 1, revectorize: false })))
  afterAll(async () => {
    useDevice(referenceDevice())
    await device.close()
  })
  test("layer", () => expect(printed("layer")).toMatchInlineSnapshot(`
    "
    out0 = matmul [1,6,4] (f32 f32 f32 f32) <batch=1 m=6 k=8 n=4> {a[1,6,8]: p1 | b[1,8,4]: p2} -> {p3 add mul erf} (b1, b2, b3)
    places: none
    "
  `))
  test("gated", () => expect(printed("gated")).toMatchInlineSnapshot(`
    "
    t0 = matmul [1,6,4] (f32 f32 f32) <batch=1 m=6 k=8 n=4> {a[1,6,8]: p1 | b[1,8,4]: p2} -> {acc} (b1, b2)
    out0 = matmul [1,6,4] (f32 f32 f32 f32) <batch=1 m=6 k=8 n=4> {a[1,6,8]: p1 | b[1,8,4]: p2} -> {p3 add mul div exp neg} (b4, b5, t0)
    places: 96
    "
  `))
  test("softmax", () => expect(printed("softmax")).toMatchInlineSnapshot(`
    "
    out0 = softmax [6,8] (f32 f32) <rows=6 columns=8> {x[6,8]: p1} -> {acc} (b1)
    places: none
    "
  `))
  test("layerNorm", () => expect(printed("layerNorm")).toMatchInlineSnapshot(`
    "
    out0 = layerNorm [6,8] (f32 f32 f32 f32) <rows=6 columns=8 eps=0.00001> {x[6,8]: p1 | weight[8]: p2 | bias[8]: p3} -> {acc} (b1, b2, b3)
    places: none
    "
  `))
  test("residual", () => expect(printed("residual")).toMatchInlineSnapshot(`
    "
    out0 = matmul [1,6,8] (f32 f32 f32 f32) <batch=1 m=6 k=8 n=8> {a[1,6,8]: p1 | b[1,8,8]: p2} -> {p3 add} (b1, b2, b3)
    out1 = rmsNorm [6,8] (f32 f32 f32) <rows=6 columns=8 eps=0.000001> {x[6,8]: p1 | weight[8]: p2} -> {acc} (out0, b5)
    places: none
    "
  `))
  test("quantized", () => expect(printed("quantized")).toMatchInlineSnapshot(`
    "
    out0 = matmul [1,6,8] (f32 f32 u8 f16 f32) <batch=1 m=6 k=32 n=8> {a[1,6,32]: p1 | b[1,32,8]: p2 p3 p4 div add mul cast rem shr} -> {acc} (b1, b2, b3, b4)
    places: none
    "
  `))
  test("integers", () => expect(printed("integers")).toMatchInlineSnapshot(`
    "
    out0 = quantizedMatmul [2,8] (f32 f32 i8 f16) <m=2 n=8 k=32 group=32 low=-128 high=127> {x[2,32]: p1 | code[8,32]: p2 | scale[8,1]: p3} -> {acc} (b1, b2, b3)
    places: none
    "
  `))
  test("adam", () => expect(printed("adam")).toMatchInlineSnapshot(`
    "
    out1 = map [8,8] (f32 f32) {p1 add mul} (b1)
    out2 = map [8,8] (f32 f32) {p1 add mul} (b1)
    out0 = map [8,8] (f32 f32 f32 f32) {p1 p2 p3 add mul tanh sub div neg select lt abs exp sqrt} (b4, out1, out2)
    places: none
    "
  `))
  test("attention", () => expect(printed("attention")).toMatchInlineSnapshot(`
    "
    out0 = attention [1,2,4,8] (f32 f32 f32 f32) <batch=1 heads=2 kvHeads=2 tq=4 tk=4 d=8 dv=8 causal=1 window=0 scale=0.35355339059327373 qOffset=0> {q[1,2,4,8]: p1 | k[1,2,4,8]: p2 | v[1,2,4,8]: p3} -> {acc} (b1, b2, b3)
    places: none
    "
  `))
  test("rope", () => expect(printed("rope")).toMatchInlineSnapshot(`
    "
    t0 = map [4] (f32) {add cast} ()
    t1 = map [4] (f32) {exp mul add cast} ()
    t2 = map [4,4] (f32 f32 f32) {p1 p2 mul} (t0, t1)
    t3 = map [4,4] (f32 f32) {p1 cos} (t2)
    t4 = map [4,4] (f32 f32) {p1 sin} (t2)
    t0 = map [2] (f32) {sub mul add cast} ()
    t5 = map [4,2,4] (f32 f32 f32) {p1 p2 mul} (t4, t0)
    out0 = map [2,4,8] (f32 f32 f32 f32) {p1 p2 p3 mul add rem div} (b8, t3, t5)
    places: 16 16 64 64 64 128
    "
  `))
  test("embedding", () => expect(printed("embedding")).toMatchInlineSnapshot(`
    "
    out0 = map [3,8] (f32 i32 f32) {p1 p2 add mul div rem} (b1, b2)
    out1 = scatterAdd [1,5,8] (f32 f32 i32) <outer=1 n=3 inner=8 size=5> {src[1,3,8]: p1 add mul | index[1,3,8]: p2} -> {acc} (out0, b1)
    places: none
    "
  `))
  test("convolution", () => expect(printed("convolution")).toMatchInlineSnapshot(`
    "
    out0 = matmul [1,3,16] (f32 f32 f32 f32) <batch=1 m=3 k=18 n=16> {a[1,3,18]: p1 | b[1,18,16]: p2} -> {p3 max add} (b1, b2, b3)
    places: none
    "
  `))
  test("loss", () => expect(printed("loss")).toMatchInlineSnapshot(`
    "
    t0 = matmul [1,3,5] (f32 f32 f32) <batch=1 m=3 k=8 n=5> {a[1,3,8]: p1 | b[1,8,5]: p2} -> {acc} (b1, b2)
    t1 = reduce [3,1] over [5] max (f32 f32) {p1} -> {acc} (t0)
    t2 = reduce [3,1] over [5] add (f32 f32 f32) {p1 p2 exp sub} -> {log} (t0, t1)
    t3 = reduce [1,1] over [3,1] add (f32 i32) {p1 cast not eq} -> {acc} (b6)
    out0 = reduce [1,1] over [3,1] add (f32 i32 f32 f32 f32 f32) {p1 p2 p3 p4 select not eq sub and le lt add mul max min} -> {p5 div} (b6, t2, t0, t1, t3)
    t4 = map [3,1] (bool i32) {p1 not eq} (b6)
    t5 = map [] (f32 f32) {p1 div} (t3)
    t6 = matmul [1,8,5] (f32 f32 bool f32 f32 f32 f32 i32) <batch=1 m=8 k=3 n=5> {a[1,8,3]: p1 | b[1,3,5]: p2 p3 p4 p5 p6 p7 select mul sub exp eq} -> {acc} (b1, t4, t5, t0, t1, t2, b6)
    out1 = map [5,8] (f32 f32) {p1} (t6)
    places: 60 12 12 4 3 4 160
    "
  `))
  test("half", () => expect(printed("half")).toMatchInlineSnapshot(`
    "
    out0 = matmul [1,4,4] (f16 f32 f32) <batch=1 m=4 k=4 n=4> {a[1,4,4]: p1 | b[1,4,4]: p2} -> {store.f16(acc)} (b1, b2)
    places: none
    "
  `))
})

describe("a device that computes products of normalized rows, and two of them at once", () => {
  const outer = referenceDevice(), names = ["rmsNorm", "quantizedMatmul", "rmsNormQuantizedMatmul"]
  const device: Device = { ...outer, accepts: (name) => names.includes(name), pairs: (name) => name.endsWith("QuantizedMatmul") }
  const layer = () => ({ scale: x(32), gate: weight(bytes, 64, 32, "int8"), up: weight(bytes, 64, 32, "int8"), down: weight(bytes, 32, 64, "int8") })
  const shown = (...outputs: Tensor[]): string => `\n${outline(explain(...outputs))}\n`
  beforeAll(() => void useDevice(device))
  afterAll(() => void useDevice(outer))

  test("a gated layer: one kernel for the norm, the gate and the values, one for what reads them", () => {
    const { scale, gate, up, down } = layer(), h = x(2, 32), y = rmsNorm(h, scale)
    expect(shown(add(h, down.apply(mul(silu(gate.apply(y)), up.apply(y)))))).toMatchInlineSnapshot(`
      "
      t0 = rmsNormQuantizedMatmul [2,64] (f32 f32 f32 i8 f16 i8 f16) <m=2 n=64 k=32 group=32 low=-128 high=127 eps=0.000001> {x[2,32]: p1 | weight[32]: p2 | code[64,32]: p3 | scale[64,1]: p4 | code2[64,32]: p5 | scale2[64,1]: p6} -> {mul div add exp neg} (b1, b2, b3, b4, b5, b6)
      out0 = quantizedMatmul [2,32] (f32 f32 i8 f16 f32) <m=2 n=32 k=64 group=32 low=-128 high=127> {x[2,64]: p1 | code[32,64]: p2 | scale[32,2]: p3} -> {p4 add} (t0, b8, b9, b1)
      places: 512
      "
    `)
  })
  test("rows that somebody else reads are stored for that one", () => {
    const { scale, gate } = layer(), y = rmsNorm(x(2, 32), scale)
    expect(shown(gate.apply(y), y)).toMatchInlineSnapshot(`
      "
      out0 = rmsNormQuantizedMatmul [2,64] (f32 f32 f32 i8 f16) <m=2 n=64 k=32 group=32 low=-128 high=127 eps=0.000001> {x[2,32]: p1 | weight[32]: p2 | code[64,32]: p3 | scale[64,1]: p4} -> {acc} (b1, b2, b3, b4)
      out1 = rmsNorm [2,32] (f32 f32 f32) <rows=2 columns=32 eps=0.000001> {x[2,32]: p1 | weight[32]: p2} -> {acc} (b1, b2)
      places: none
      "
    `)
  })
  test("products of different operands are two kernels, as are those that somebody else reads", () => {
    const { gate, up } = layer()
    expect(shown(mul(gate.apply(x(2, 32)), up.apply(x(2, 32))))).toMatchInlineSnapshot(`
      "
      t0 = quantizedMatmul [2,64] (f32 f32 i8 f16) <m=2 n=64 k=32 group=32 low=-128 high=127> {x[2,32]: p1 | code[64,32]: p2 | scale[64,1]: p3} -> {acc} (b1, b2, b3)
      out0 = quantizedMatmul [2,64] (f32 f32 i8 f16 f32) <m=2 n=64 k=32 group=32 low=-128 high=127> {x[2,32]: p1 | code[64,32]: p2 | scale[64,1]: p3} -> {p4 mul} (b5, b6, b7, t0)
      places: 512
      "
    `)
    const read = rmsNorm(x(2, 32)), values = up.apply(read)
    expect(shown(mul(gate.apply(read), values), values)).toMatchInlineSnapshot(`
      "
      out1 = rmsNormQuantizedMatmul [2,64] (f32 f32 i8 f16) <m=2 n=64 k=32 group=32 low=-128 high=127 eps=0.000001> {x[2,32]: p1 | code[64,32]: p2 | scale[64,1]: p3} -> {acc} (b1, b2, b3)
      out0 = rmsNormQuantizedMatmul [2,64] (f32 f32 i8 f16 f32) <m=2 n=64 k=32 group=32 low=-128 high=127 eps=0.000001> {x[2,32]: p1 | code[64,32]: p2 | scale[64,1]: p3} -> {p4 mul} (b1, b5, b6, out1)
      places: none
      "
    `)
  })
})

describe("functions of one example, mapped on the wasm device, are kernels of all", () => {
  let device: Device, rows: Tensor, w: Tensor, b: Tensor
  beforeAll(async () => {
    device = await open("wasm", { threads: 1, revectorize: false })
    ;[rows, w, b] = [x(6, 8), x(4, 8), x(4)]
  })
  afterAll(async () => {
    useDevice(referenceDevice())
    await device.close()
  })
  const shown = (...outputs: Tensor[]): string => outline(explain(...outputs))

  test("a shared weight, on either side: one product, with its epilogue", () => {
    const one = shown(gelu(linear(rows, w, b)))
    expect(`\n${one}\n`).toMatchInlineSnapshot(`
      "
      out0 = matmul [1,6,4] (f32 f32 f32 f32) <batch=1 m=6 k=8 n=4> {a[1,6,8]: p1 | b[1,8,4]: p2} -> {p3 add mul erf} (b1, b2, b3)
      places: none
      "
    `)
    expect(shown(vmap((v: Tensor) => gelu(linear(v, w, b)))(rows))).toBe(one)
    expect(shown(vmap((v: Tensor) => gelu(add(matmul(w, v), b)))(rows))).toBe(one)
    expect(shown(vmap(vmap((v: Tensor) => gelu(linear(v, w, b))))(x(2, 3, 8)))).toBe(one)
  })
  test("products of every pair: one", () => {
    expect(`\n${shown(vmap((u: Tensor) => vmap((v: Tensor) => matmul(u, v))(rows))(x(3, 8)))}\n`).toMatchInlineSnapshot(`
      "
      out0 = matmul [1,3,6] (f32 f32 f32) <batch=1 m=3 k=8 n=6> {a[1,3,8]: p1 | b[1,8,6]: p2} -> {acc} (b1, b2)
      places: none
      "
    `)
  })
  test("tuned kernels stay", () => {
    expect(shown(vmap((v: Tensor) => softmax(v))(x(2, 3, 8)))).toBe(shown(softmax(rows)))
    expect(shown(vmap((v: Tensor) => layerNorm(v, x(8), x(8)))(rows))).toBe(shown(layerNorm(rows, x(8), x(8))))
    expect(shown(vmap((v: Tensor) => weight(bytes, 8, 32, "int8").apply(v))(x(2, 32)))).toBe(printed("integers").trim())
    expect(`\n${shown(vmap((q: Tensor) => attention(q, q, q, { causal: true }))(x(3, 1, 2, 4, 8)))}\n`).toMatchInlineSnapshot(`
      "
      out0 = attention [3,2,4,8] (f32 f32) <batch=3 heads=2 kvHeads=2 tq=4 tk=4 d=8 dv=8 causal=1 window=0 scale=0.35355339059327373 qOffset=0> {q[3,2,4,8]: p1 | k[3,2,4,8]: p1 | v[3,2,4,8]: p1} -> {acc} (b1)
      places: none
      "
    `)
  })
  test("a shared table has one gradient, not one for each example", () => {
    const table = x(5, 8), y = vmap((i: Tensor) => embedding(table, i))(tensor([[1], [3], [1]], { dtype: "i32" }))
    expect(`\n${shown(y, ...grad(sum(mul(y, y)), [table]))}\n`).toMatchInlineSnapshot(`
      "
      out0 = map [3,1,8] (f32 i32 f32) {p1 p2 add mul div rem} (b1, b2)
      out1 = scatterAdd [1,5,8] (f32 f32 i32) <outer=1 n=3 inner=8 size=5> {src[1,3,8]: p1 add mul | index[1,3,8]: p2} -> {acc} (out0, b1)
      places: none
      "
    `)
  })
  test("so does a shared weight; the gradients of examples are one batch of products", () => {
    const loss = (v: Tensor): Tensor => sum(gelu(linear(v, w)))
    expect(`\n${shown(...grad(sum(vmap(loss)(rows)), [w]))}\n`).toMatchInlineSnapshot(`
      "
      t0 = matmul [1,6,4] (f32 f32 f32) <batch=1 m=6 k=8 n=4> {a[1,6,8]: p1 | b[1,8,4]: p2} -> {acc} (b1, b2)
      t1 = matmul [1,8,4] (f32 f32 f32) <batch=1 m=8 k=6 n=4> {a[1,8,6]: p1 | b[1,6,4]: p2 add mul erf exp} -> {acc} (b1, t0)
      out0 = map [4,8] (f32 f32) {p1} (t1)
      places: 96 128
      "
    `)
    expect(`\n${shown(...vmap((v: Tensor) => grad(loss(v), [w]))(rows))}\n`).toMatchInlineSnapshot(`
      "
      t0 = matmul [1,6,4] (f32 f32 f32) <batch=1 m=6 k=8 n=4> {a[1,6,8]: p1 | b[1,8,4]: p2} -> {acc} (b1, b2)
      t1 = matmul [6,8,4] (f32 f32 f32) <batch=6 m=8 k=1 n=4> {a[6,8,1]: p1 | b[6,1,4]: p2 add mul erf exp} -> {acc} (b1, t0)
      out0 = map [6,4,8] (f32 f32) {p1} (t1)
      places: 96 768
      "
    `)
  })
})

test("a whole print: a layer on the wasm device is one kernel", async () => {
  const device = await open("wasm", { threads: 1, revectorize: false })
  expect(`\n${explain(...graphs.layer())}\n`).toMatchInlineSnapshot(`
    "
    out0 = matmul [1,6,4] (f32 f32 f32 f32) <batch=1 m=6 k=8 n=4> { a[1,6,8]: p1[add(mul(i1, 8), i2)] | b[1,8,4]: p2[add(mul(i2, 8), i1)] } -> { %0 = add(acc, p3[i2]); mul(mul(%0, 0.5f32), add(1f32, erf(mul(%0, 0.7071067690849304f32)))) } (b1, b2, b3)
    places: none
    "
  `)
  useDevice(referenceDevice())
  await device.close()
})
