import {
  cat, chunk, diag, expand, flip, moveAxis, narrow, pad, permute, repeat, repeatInterleave, reshape, roll, selectAt, slice, split, splitSizes,
  squeeze, stack, transpose, tril, triu, unfold, type PadOptions,
} from "@thimble/core"
import type { Inputs, Row } from "./case.ts"

interface Axis { readonly dim: number }
interface Diagonal { readonly diagonal: number }
/** Amounts are recorded from the last axis on, as one flat list. */
interface Padding { readonly pad: readonly number[]; readonly value?: number }

const list = (inputs: Inputs) => Object.values(inputs)
const padded = (mode: PadOptions["mode"]) => ({ x }: Inputs, { pad: flat, value }: Padding) => {
  const pairs = Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i]!, flat[2 * i + 1]!] as const)
  return pad(x!, pairs.reverse(), { mode, value })
}

export const movement = {
  reshape: ({ x }, { shape }: { shape: number[] }) => reshape(x!, shape),
  permute: ({ x }, { dims }: { dims: number[] }) => permute(x!, dims),
  transpose: ({ x }, { d0, d1 }: { d0: number; d1: number }) => transpose(x!, d0, d1),
  expand: ({ x }, { shape }: { shape: number[] }) => expand(x!, shape),
  cat: (inputs, { dim }: Axis) => cat(list(inputs), dim),
  stack: (inputs, { dim }: Axis) => stack(list(inputs), dim),
  split: ({ x }, { size, dim }: Axis & { size: number }) => split(x!, size, dim),
  split_sizes: ({ x }, { sizes, dim }: Axis & { sizes: number[] }) => splitSizes(x!, sizes, dim),
  chunk: ({ x }, { chunks, dim }: Axis & { chunks: number }) => chunk(x!, chunks, dim),
  flip: ({ x }, { dims }: { dims: number[] }) => flip(x!, dims),
  roll: ({ x }, { shifts, dims }: { shifts: number[]; dims: number[] }) => roll(x!, shifts, dims),
  repeat: ({ x }, { reps }: { reps: number[] }) => repeat(x!, reps),
  repeat_interleave: ({ x }, { n, dim }: Axis & { n: number }) => repeatInterleave(x!, n, dim),
  pad_constant: padded("constant"),
  pad_reflect: padded("reflect"),
  pad_replicate: padded("replicate"),
  pad_circular: padded("circular"),
  tril: ({ x }, { diagonal }: Diagonal) => tril(x!, diagonal),
  triu: ({ x }, { diagonal }: Diagonal) => triu(x!, diagonal),
  diag: ({ input }) => diag(input!),
  slice: ({ x }) => slice(x!, [1], [0, undefined, 2], [-3, -1]),
  select_neg: ({ x }) => selectAt(x!, 1, -1),
  narrow: ({ x }, { dim, start, length }: Axis & { start: number; length: number }) => narrow(x!, dim, start, length),
  squeeze: ({ x }, { dim }: Axis) => squeeze(x!, dim),
  unfold: ({ x }, { dim, size, step }: Axis & { size: number; step: number }) => unfold(x!, dim, size, step),
  movedim: ({ x }, { s, d }: { s: number; d: number }) => moveAxis(x!, s, d),
} satisfies Record<string, Row>
