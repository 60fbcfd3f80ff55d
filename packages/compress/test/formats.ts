import { affine, binary, codebook, entropy, fp, ggml, int, mse, mx, nf4, fp4, nvfp4, percentile, stochastic, ternary, type QuantizedFormat } from "../src/index.ts"

/** Formats of every kind, with groups that rows end within. */
export const formats: readonly QuantizedFormat[] = [
  int(2, { group: 5 }), int(3, { group: 7, scales: "f32" }), int(4, { group: 32 }), int(4, { group: 5, scales: "bf16" }), int(5, { group: 6 }),
  int(6, { group: "tensor" }), int(7, { group: 3 }), int(8), int(8, { group: 6, scales: "f32" }),
  int(1, { group: 6, range: "asymmetric", scales: "f32" }), int(2, { group: 6, range: "asymmetric" }), int(3, { group: 5, range: "asymmetric" }),
  int(4, { group: 5, range: "asymmetric" }), int(5, { range: "asymmetric", scales: "bf16" }), int(6, { group: 9, range: "asymmetric" }),
  int(7, { group: 4, range: "asymmetric" }), int(8, { range: "asymmetric", group: "tensor" }),
  int(3, { group: 6, ends: mse() }), int(2, { group: 16, scales: "f32", ends: mse({ points: 40 }) }), int(4, { group: 5, range: "asymmetric", ends: mse({ points: 20 }) }), int(8, { group: "tensor", ends: mse({ points: 10 }) }),
  int(4, { group: 20, ends: percentile(90) }), int(3, { range: "asymmetric", scales: "f32", ends: percentile(80) }),
  int(4, { group: 24, ends: entropy({ bins: 64 }) }), int(3, { range: "asymmetric", scales: "bf16", ends: entropy({ bins: 32 }) }),
  affine(1, { group: 6, scales: "f32" }), affine(2, { group: 5 }), affine(3, { group: "row" }), affine(4, { group: 6, scales: "bf16" }), affine(8, { group: 7 }),
  fp("e4m3"), fp("e5m2", { group: 8, scales: "f16" }), fp("e4m3", { group: "none" }), fp("e5m2", { group: "none" }), fp("e3m2", { group: "tensor" }),
  fp("e2m3", { group: 9, scales: "bf16" }), fp("e2m1", { group: 6, scales: "f16" }), fp("e2m1", { group: "none" }),
  mx("e2m1"), mx("e2m3"), mx("e3m2", { group: 5 }), mx("e4m3", { group: 6 }), mx("e5m2"), mx("int8"), nvfp4(),
  nf4({ group: 6 }), nf4({ group: 6, absmax: "nested" }), nf4(), fp4({ group: 5 }), fp4({ absmax: "nested" }),
  ternary({ group: 6 }), ternary({ group: "tensor", scales: "f32" }), binary({ group: 6 }), binary(), stochastic(int(3, { group: 6, scales: "f32" })), stochastic(int(4, { range: "asymmetric" }), { seed: 7 }), codebook(2, { group: 11 }), codebook(4),
  ...Object.values(ggml).filter((f): f is typeof f & QuantizedFormat => "laws" in f),
]
