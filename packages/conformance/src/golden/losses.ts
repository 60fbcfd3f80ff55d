import {
  attention, bceWithLogits, binaryCrossEntropy, cosineSimilarity, crossEntropy, distillationLoss, embedding, huberLoss, klDivLoss, l1Loss, matmul, mseLoss,
  nllLoss, reshape, rmsNorm, rope, smoothL1Loss, transpose, type DivergenceOptions, type LossOptions, type Tensor,
} from "@thimble/core"
import type { Row } from "./case.ts"

interface Classes { readonly label_smoothing?: number; readonly reduction?: LossOptions["reduction"]; readonly ignore_index?: number }
interface Llama { readonly heads: number; readonly kv_heads: number; readonly eps: number; readonly base: number }

export const losses = {
  cross_entropy: ({ x, t, w }, { label_smoothing: labelSmoothing, ignore_index: ignoreIndex, reduction }: Classes) => crossEntropy(x, t, { axis: 1, weight: w, labelSmoothing, ignoreIndex, reduction }),
  cross_entropy_prob: ({ x, t }) => crossEntropy(x, t, { axis: 1 }),
  nll_loss: ({ x, t }) => nllLoss(x, t, { axis: 1 }),
  kl_div: ({ x, t }, { reduction, log_target: logTarget }: DivergenceOptions & { log_target: boolean }) => klDivLoss(x, t, { reduction, logTarget }),
  mse_loss: ({ x, t }, options: LossOptions) => mseLoss(x, t, options),
  l1_loss: ({ x, t }, options: LossOptions) => l1Loss(x, t, options),
  huber_loss: ({ x, t }, options: { delta: number }) => huberLoss(x, t, options),
  smooth_l1_loss: ({ x, t }, options: { beta: number }) => smoothL1Loss(x, t, options),
  bce_with_logits: ({ x, t }) => bceWithLogits(x, t),
  binary_cross_entropy: ({ x, t }) => binaryCrossEntropy(x, t),
  cosine_similarity: ({ a, b }, { dim }: { dim: number }) => cosineSimilarity(a, b, { axis: dim }),
  distill_kd: ({ s, t }, { T }: { T: number }) => distillationLoss(s, t, { temperature: T }),
  llama_block_loss: ({ x: table, tok, tgt, wn1, wq, wk, wv, wo, wn2, wg, wu, wd, wnf, wlm }, { heads, kv_heads: kvHeads, eps, base }: Llama) => {
    const project = (x: Tensor, w: Tensor): Tensor => matmul(x, transpose(w))
    const [batch, time] = tok.shape as [number, number]
    const split = (x: Tensor, n: number): Tensor => transpose(reshape(x, [batch, time, n, -1]), 1, 2)
    let h = embedding(table, tok)
    const a = rmsNorm(h, wn1, { eps })
    const [q, k, v] = [split(project(a, wq), heads), split(project(a, wk), kvHeads), split(project(a, wv), kvHeads)]
    const mixed = attention(rope(q, { base }), rope(k, { base }), v, { causal: true })
    h = h.add(project(reshape(transpose(mixed, 1, 2), [batch, time, -1]), wo))
    const b = rmsNorm(h, wn2, { eps })
    h = h.add(project(project(b, wg).silu().mul(project(b, wu)), wd))
    const logits = project(rmsNorm(h, wnf, { eps }), wlm)
    return [crossEntropy(logits, tgt), logits]
  },
} satisfies Record<string, Row>
