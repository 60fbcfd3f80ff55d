import {
  addmm, batchNorm, bmm, einsum, groupNorm, instanceNorm, layerNorm, linear, logSoftmax, matmul, outer, rmsNorm, softmax, type AddmmOptions,
  type BatchNormOptions, type NormOptions,
} from "@thimble/core"
import type { Row } from "./case.ts"

interface Axis { readonly dim: number }

export const network = {
  matmul: ({ a, b }) => matmul(a!, b!),
  bmm: ({ input, mat2 }) => bmm(input!, mat2!),
  addmm: ({ c, a, b }, options: AddmmOptions) => addmm(c!, a!, b!, options),
  linear: ({ x, w, b }) => linear(x!, w!, b),
  outer: ({ a, b }) => outer(a!, b!),
  einsum: (inputs, { equation }: { equation: string }) => einsum(equation, ...Object.values(inputs)),
  softmax: ({ x }, { dim }: Axis) => softmax(x!, dim),
  log_softmax: ({ x }, { dim }: Axis) => logSoftmax(x!, dim),
  layer_norm: ({ x, w, b }, { normalized_shape: shape, eps }: NormOptions & { normalized_shape: number[] }) => layerNorm(x!, w, b, { eps, axes: shape.length }),
  rms_norm: ({ x, w }, options: NormOptions) => rmsNorm(x!, w, options),
  group_norm: ({ x, w, b }, { groups, eps }: NormOptions & { groups: number }) => groupNorm(x!, groups, w, b, { eps }),
  instance_norm: ({ x }, { eps }: NormOptions) => instanceNorm(x!, undefined, undefined, { eps }),
  batch_norm: ({ x, w, b, rm, rv }, options: BatchNormOptions) => {
    const { output, mean, variance } = batchNorm(x!, rm!, rv!, w, b, options)
    return [output, mean, variance]
  },
} satisfies Record<string, Row>
