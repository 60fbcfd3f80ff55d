/** Golden ops that no device runs, and why. A skip that is not needed fails. */
const todo = "no row yet"

export const skips: Readonly<Record<string, string>> = {
  // movement, indexing, network, losses
  cross_entropy: todo, cross_entropy_prob: todo,
  nll_loss: todo, kl_div: todo, mse_loss: todo, l1_loss: todo, huber_loss: todo, smooth_l1_loss: todo,
  bce_with_logits: todo, binary_cross_entropy: todo, cosine_similarity: todo, distill_kd: todo,
  llama_block_loss: todo,
}
