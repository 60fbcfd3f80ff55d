import { random, tensor } from "@thimble/core"
import type { Data } from "@thimble/distill"
import { sha256 } from "@thimble/models"
import { places, side } from "./digits.ts"

export interface WarpOptions {
  /** Decides what is done to each image. */
  readonly seed: number
  /** Largest shift of either axis, in places; 2 unless given. */
  readonly shift?: number
  /** Largest angle, in degrees, largest change of size, as a share, and largest shear; 12, 0.12 and 0.12 unless given. */
  readonly turn?: number
  readonly scale?: number
  readonly shear?: number
}

/** Images that are shifted, turned, scaled and sheared a little, each time otherwise. */
export function warped(data: Data, { seed, shift = 2, turn = 12, scale = 0.12, shear = 0.12 }: WarpOptions): Data {
  const key = random.key(seed)
  return {
    ...(data.batches !== undefined && { batches: data.batches }),
    id: async () => sha256(`warped ${JSON.stringify([seed, shift, turn, scale, shear])}`, await data.id()),
    async batch(index) {
      const given = await data.batch(index), count = given.inputs.shape[0]!, images = (await given.inputs.data()) as Float32Array, out = new Float32Array(images.length)
      given.inputs.dispose()
      const drawn = random.uniform(random.foldIn(key, index), [count, 5], { low: -1, high: 1 }), u = (await drawn.data()) as Float32Array
      drawn.dispose()
      for (let i = 0; i < count; i++) {
        const [dx, dy, a, s, h] = u.subarray(5 * i, 5 * i + 5) as unknown as [number, number, number, number, number]
        const angle = (a * turn * Math.PI) / 180, size = Math.exp(s * scale), [c, n] = [Math.cos(angle) * size, Math.sin(angle) * size]
        warp(images.subarray(i * places, (i + 1) * places), out.subarray(i * places, (i + 1) * places), [c, h * shear - n, dx * shift, n, c, dy * shift])
      }
      return { ...given, inputs: tensor(out, { shape: [count, places] }) }
    },
  }
}

/** Looks at the image where a map from the middle leads, between places as the weighted mean of four. */
function warp(from: Float32Array, to: Float32Array, [a, b, x, c, d, y]: readonly [number, number, number, number, number, number]): void {
  const middle = (side - 1) / 2, at = (row: number, column: number): number => (row < 0 || row >= side || column < 0 || column >= side ? 0 : from[row * side + column]!)
  for (let row = 0; row < side; row++)
    for (let column = 0; column < side; column++) {
      const [u, v] = [column - middle, row - middle], [across, down] = [a * u + b * v + x + middle, c * u + d * v + y + middle]
      const [left, top] = [Math.floor(across), Math.floor(down)], [p, q] = [across - left, down - top]
      to[row * side + column] = (1 - q) * ((1 - p) * at(top, left) + p * at(top, left + 1)) + q * ((1 - p) * at(top + 1, left) + p * at(top + 1, left + 1))
    }
}
