import type { BookName } from "./codes.ts"

/** The codebooks of bitsandbytes, by code. Source: bitsandbytes, functional.py; NF4 from QLoRA (arXiv 2305.14314), appendix E. */
export const books: Readonly<Record<BookName, Float32Array>> = {
  nf4: Float32Array.of(
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1),
  fp4: Float32Array.of(0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4, -0, -1 / 192, -2 / 3, -1, -1 / 3, -1 / 2, -1 / 6, -1 / 4),
}
