/** Golden ops that no device runs, and why. A skip that is not needed fails. */
const todo = "no row yet"

export const skips: Readonly<Record<string, string>> = {
  // reduce
  sum: todo, mean: todo, prod: todo, amax: todo, amin: todo, logsumexp: todo, sum_all: todo, mean_all: todo, prod_all: todo, max: todo, min: todo, argmax: todo, argmax_all: todo, argmin: todo, argmin_all: todo, var: todo, std: todo, norm: todo, all: todo, any: todo, count_nonzero: todo, cumsum: todo, cumprod: todo, cummax: todo, sort: todo, topk: todo,
  // movement, indexing, network, losses
  masked_select: todo, where: todo,
  nonzero: todo, embedding: todo, 
  conv2d: todo, conv1d: todo, conv3d: todo,
  conv_transpose2d: todo, max_pool2d: todo, avg_pool2d: todo, adaptive_avg_pool2d: todo, interpolate: todo,
  rope_half: todo, rope_interleaved: todo, attention: todo, cross_entropy: todo, cross_entropy_prob: todo,
  nll_loss: todo, kl_div: todo, mse_loss: todo, l1_loss: todo, huber_loss: todo, smooth_l1_loss: todo,
  bce_with_logits: todo, binary_cross_entropy: todo, cosine_similarity: todo, distill_kd: todo, graph_reuse: todo,
  graph_views: todo, graph_broadcast: todo, llama_block_loss: todo,
}
