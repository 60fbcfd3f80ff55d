/** Golden ops that no device runs, and why. A skip that is not needed fails. */
const todo = "no row yet"

export const skips: Readonly<Record<string, string>> = {
  // elementwise, reduce
  maximum: todo, minimum: todo, atan2: todo, pow: todo, pow_scalar: todo, int_add: todo, int_sub: todo,
  int_mul_small: todo, int_div_trunc: todo, int_div_floor: todo, int_remainder: todo, int_fmod: todo,
  int_true_div: todo, remainder: todo, fmod: todo, floor_divide: todo, trunc_divide: todo, eq: todo, ne: todo,
  lt: todo, le: todo, gt: todo, ge: todo, bitwise_and: todo, bitwise_or: todo, bitwise_xor: todo, bitwise_not: todo,
  left_shift: todo, right_shift: todo, neg: todo, abs: todo, sign: todo, exp: todo, log: todo, log2: todo, log1p: todo,
  expm1: todo, sqrt: todo, rsqrt: todo, sin: todo, cos: todo, tan: todo, asin: todo, atan: todo, sinh: todo,
  tanh: todo, sigmoid: todo, erf: todo, floor: todo, ceil: todo, round: todo, trunc: todo, reciprocal: todo,
  square: todo, relu: todo, leaky_relu: todo, elu: todo, selu: todo, celu: todo, softplus: todo, softsign: todo,
  silu: todo, gelu: todo, gelu_tanh: todo, mish: todo, hardswish: todo, hardsigmoid: todo, hardtanh: todo,
  logsigmoid: todo, relu6: todo, isnan: todo, isfinite: todo, clamp: todo, softplus_param: todo, sum: todo, mean: todo,
  prod: todo, amax: todo, amin: todo, logsumexp: todo, sum_all: todo, mean_all: todo, prod_all: todo, max: todo,
  min: todo, argmax: todo, argmax_all: todo, argmin: todo, argmin_all: todo, var: todo, std: todo, norm: todo,
  all: todo, any: todo, count_nonzero: todo, cumsum: todo, cumprod: todo, cummax: todo, sort: todo, topk: todo,
  // movement, indexing, network, losses
  reshape: todo, permute: todo, transpose: todo, expand: todo, cat: todo, stack: todo, split: todo, split_sizes: todo,
  chunk: todo, flip: todo, roll: todo, repeat: todo, repeat_interleave: todo, pad_constant: todo, pad_reflect: todo,
  pad_replicate: todo, pad_circular: todo, tril: todo, triu: todo, diag: todo, slice: todo, select_neg: todo,
  narrow: todo, squeeze: todo, unfold: todo, movedim: todo, 
  masked_select: todo, where: todo,
  nonzero: todo, embedding: todo, matmul: todo, bmm: todo, addmm: todo,
  linear: todo, outer: todo, einsum: todo, softmax: todo, log_softmax: todo, layer_norm: todo, rms_norm: todo,
  group_norm: todo, instance_norm: todo, batch_norm: todo, conv2d: todo, conv1d: todo, conv3d: todo,
  conv_transpose2d: todo, max_pool2d: todo, avg_pool2d: todo, adaptive_avg_pool2d: todo, interpolate: todo,
  rope_half: todo, rope_interleaved: todo, attention: todo, cross_entropy: todo, cross_entropy_prob: todo,
  nll_loss: todo, kl_div: todo, mse_loss: todo, l1_loss: todo, huber_loss: todo, smooth_l1_loss: todo,
  bce_with_logits: todo, binary_cross_entropy: todo, cosine_similarity: todo, distill_kd: todo, graph_reuse: todo,
  graph_views: todo, graph_broadcast: todo, llama_block_loss: todo,
}
