import { isFloat } from "../dtype.ts"
import { fail, showShape } from "../errors.ts"
import type { Tensor } from "../tensor.ts"
import { arange } from "./create.ts"
import { add, castTo, floor, maximum, minimum, mul, sub } from "./elementwise.ts"
import { take } from "./indexing.ts"
import { reshape } from "./movement.ts"

export interface InterpolateOptions {
  /** The nearest pixel, or a straight line between neighbours. */
  readonly mode?: "nearest" | "bilinear"
  /** Bilinear only: whether the corner pixels' centres, rather than their outer edges, stay where they are. */
  readonly alignCorners?: boolean
}

type Resize = (x: Tensor, axis: number, size: number, alignCorners: boolean) => Tensor
const modes: Record<"nearest" | "bilinear", Resize> = {
  nearest: (x, axis, size) => {
    const n = x.shape[axis]!
    return take(x, castTo(minimum(floor(mul(arange(0, size, 1, "f32"), Math.fround(n / size))), n - 1), "i32"), axis)
  },
  bilinear: (x, axis, size, alignCorners) => {
    const n = x.shape[axis]!, i = arange(0, size, 1, "f32")
    const scale = Math.fround(alignCorners ? (size > 1 ? (n - 1) / (size - 1) : 0) : n / size)
    const at = alignCorners ? mul(i, scale) : maximum(sub(mul(add(i, 0.5), scale), 0.5), 0)
    const low = minimum(floor(at), n - 1), high = minimum(add(low, 1), n - 1)
    const share = reshape(castTo(sub(at, low), x.dtype), [size, ...x.shape.slice(axis + 1).map(() => 1)])
    return add(mul(take(x, castTo(low, "i32"), axis), sub(1, share)), mul(take(x, castTo(high, "i32"), axis), share))
  },
}

/** x [..., height, width] resampled to [..., ...size]; positions are computed in f32, as torch does. */
export function interpolate(x: Tensor, size: readonly [height: number, width: number], { mode = "nearest", alignCorners = false }: InterpolateOptions = {}): Tensor {
  if (x.rank < 2 || x.size === 0) fail("shape", "interpolate", `needs [..., height, width] with elements, got ${showShape(x.shape)}`)
  if (!isFloat(x.dtype)) fail("dtype", "interpolate", `needs floats, got ${x.dtype}`, "cast to f32 first")
  if (size.length !== 2 || size.some((s) => !Number.isInteger(s) || s < 1)) fail("value", "interpolate", `the size must be two whole numbers ≥ 1, got [${size.join(", ")}]`)
  const resize = modes[mode] ?? fail("value", "interpolate", `no mode '${String(mode)}'`, `one of ${Object.keys(modes).join(", ")}`)
  const wide = castTo(x, x.dtype === "f64" ? "f64" : "f32")
  return castTo(resize(resize(wide, x.rank - 1, size[1], alignCorners), x.rank - 2, size[0], alignCorners), x.dtype)
}
