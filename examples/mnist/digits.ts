import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import { compile, tensor, type Tensor } from "@thimble/core"
import type { Network } from "@thimble/distill"

/** Images of 28 × 28 in 0 … 1, and their digits. */
export interface Digits { readonly images: Float32Array; readonly labels: Uint8Array }
/** Places along a side of an image, and in all. */
export const [side, places] = [28, 784]

/** Digits from IDX files (gzip): NAME-images-idx3-ubyte.gz and NAME-labels-idx1-ubyte.gz. */
export async function digits(folder: string, name: string): Promise<Digits> {
  const read = async (kind: string, header: number): Promise<Uint8Array> => gunzipSync(await readFile(join(folder, `${name}-${kind}-ubyte.gz`))).subarray(header)
  const [pixels, labels] = [await read("images-idx3", 16), await read("labels-idx1", 8)]
  return { images: Float32Array.from(pixels, (v) => v / 255), labels }
}

/** Percent of right answers. */
export async function accuracy<P>({ see }: Network<P>, parameters: P, { images, labels }: Digits): Promise<number> {
  const run = compile((p: unknown, x: Tensor) => see(p as P, x, { wanted: ["logits"] }).logits!.argmax({ axis: -1 })), size = 500
  let right = 0
  for (let i = 0; i < labels.length; i += size) {
    using x = tensor(images.slice(i * places, (i + size) * places), { shape: [Math.min(size, labels.length - i), places] })
    using found = await run(parameters as never, x) as Tensor
    ;(await found.data()).forEach((v, j) => (right += Number(v) === labels[i + j]! ? 1 : 0))
  }
  run.dispose()
  return (100 * right) / labels.length
}
