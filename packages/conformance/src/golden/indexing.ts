import { embedding, gather, indexAdd, indexTensor, maskedFill, oneHot, scatter, scatterAddTo, take, takeAlong } from "@thimble/core"
import type { Row } from "./case.ts"

interface Axis { readonly dim: number }

export const indexing = {
  gather: ({ x, index }, { dim }: Axis) => gather(x!, dim, index!),
  scatter: ({ x, index, src }, { dim }: Axis) => scatter(x!, dim, index!, src!),
  scatter_add: ({ x, index, src }, { dim }: Axis) => scatterAddTo(x!, dim, index!, src!),
  index_select: ({ x, index }, { dim }: Axis) => take(x!, index!, dim),
  index_add: ({ x, index, src }, { dim }: Axis) => indexAdd(x!, dim, index!, src!),
  index_tensor: ({ x, i, j }) => indexTensor(x!, [i!, null, j!]),
  masked_fill: ({ x, mask }, { value }: { value: number }) => maskedFill(x!, mask!, value),
  one_hot: ({ x }, { n }: { n: number }) => oneHot(x!, n),
  take_along_dim: ({ x, index }, { dim }: Axis) => takeAlong(x!, index!, dim),
  embedding: ({ w, idx }, { padding_idx: padding }: { padding_idx: number | null }) => embedding(w!, idx!, padding === null ? {} : { paddingIndex: padding }),
} satisfies Record<string, Row>
