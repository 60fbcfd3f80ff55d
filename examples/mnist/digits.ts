import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import { argmax, castTo, compile, crossEntropy, eq, sum, tensor, type Tensor } from "@thimble/core"
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

/** Percent of right answers, and the cross entropy with the right ones, in nats. */
export interface Scored { readonly percent: number; readonly loss: number }

/** What a network makes of digits that it did not learn from. */
export async function score<P>({ see }: Network<P>, parameters: P, { images, labels }: Digits): Promise<Scored> {
  const run = compile((p: unknown, x: Tensor, right: Tensor) => {
    const { logits } = see(p as P, x, { wanted: ["logits"] })
    return { right: sum(castTo(eq(argmax(logits!, { axis: -1 }), right), "f32")), loss: crossEntropy(logits!, right, { reduction: "sum" }) }
  })
  const size = 500, total = { right: 0, loss: 0 }
  for (let i = 0; i < labels.length; i += size) {
    const digits = Int32Array.from(labels.subarray(i, i + size))
    using x = tensor(images.slice(i * places, (i + size) * places), { shape: [digits.length, places] })
    using right = tensor(digits)
    const found = await run(parameters as never, x, right)
    total.right += Number(await found.right.item())
    total.loss += Number(await found.loss.item())
    found.right.dispose()
    found.loss.dispose()
  }
  run.dispose()
  return { percent: (100 * total.right) / labels.length, loss: total.loss / labels.length }
}
