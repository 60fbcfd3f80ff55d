import {
  adaptiveAvgPool2d, addmm, attention, avgPool2d, batchNorm, bmm, conv1d, conv2d, conv3d, convTranspose2d, einsum, groupNorm, instanceNorm, interpolate, layerNorm,
  linear, logSoftmax, matmul, maxPool2d, outer, rmsNorm, rope, softmax, type AddmmOptions, type BatchNormOptions, type ConvolutionOptions,
  type InterpolateOptions, type NormOptions, type RotationOptions, type Spatial, type TransposedOptions,
} from "@thimble/core"
import type { Row } from "./case.ts"

interface Axis { readonly dim: number }
interface Pool { readonly kernel: Spatial; readonly stride: Spatial; readonly padding: Spatial; readonly dilation?: Spatial; readonly ceil_mode: boolean; readonly count_include_pad?: boolean }

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
  conv1d: ({ x, w, b }, options: ConvolutionOptions) => conv1d(x!, w!, b, options),
  conv2d: ({ x, w, b }, options: ConvolutionOptions) => conv2d(x!, w!, b, options),
  conv3d: ({ x, w }, options: ConvolutionOptions) => conv3d(x!, w!, undefined, options),
  conv_transpose2d: ({ x, w, b }, { output_padding: outputPadding, ...options }: TransposedOptions & { output_padding: Spatial }) => convTranspose2d(x!, w!, b, { ...options, outputPadding }),
  max_pool2d: ({ x }, { kernel, stride, padding, dilation, ceil_mode: ceilMode }: Pool) => {
    const { values, indices } = maxPool2d(x!, kernel, { stride, padding, dilation, ceilMode })
    return [values, indices]
  },
  avg_pool2d: ({ x }, { kernel, stride, padding, ceil_mode: ceilMode, count_include_pad: countPadding }: Pool) => avgPool2d(x!, kernel, { stride, padding, ceilMode, countPadding }),
  adaptive_avg_pool2d: ({ x }, { out }: { out: [number, number] }) => adaptiveAvgPool2d(x!, out),
  interpolate: ({ x }, { size, mode, align_corners: corners }: { size: [number, number]; mode: InterpolateOptions["mode"]; align_corners: boolean | null }) => interpolate(x!, size, { mode, alignCorners: corners ?? false }),
  rope_half: ({ x }, options: RotationOptions) => rope(x!, options),
  rope_interleaved: ({ x }, options: RotationOptions) => rope(x!, { ...options, layout: "interleaved" }),
  attention: ({ q, k, v, mask }, { causal, q_offset: qOffset, scale }: { causal: boolean; q_offset: number; scale: number | null }) => attention(q!, k!, v!, { causal, qOffset, mask, ...(scale !== null && { scale }) }),
} satisfies Record<string, Row>
