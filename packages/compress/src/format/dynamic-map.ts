// The signed 8-bit map of bitsandbytes, and largest magnitudes stored in it.
const f = Math.fround

let made: Float32Array | undefined
/**
 * 256 values in [−0.993, 1]: for each power of ten from 1e−6 to 1, the midpoints of 2ⁱ equal parts of [0.1, 1], with both
 * signs, and 0 and 1. Rounded once; the map that checkpoints carry was computed in f32, and is off by some units of the
 * last place. Source: Dettmers et al., 8-bit optimizers (arXiv 2110.02861); bitsandbytes, create_dynamic_map.
 */
export function dynamicMap(): Float32Array {
  if (made) return made
  const values = [0, 1]
  for (let i = 0; i < 7; i++)
    for (let j = 0, n = 2 ** i; j < n; j++) {
      const v = (0.1 + (0.9 * (j + 0.5)) / n) * 10 ** (i - 6)
      values.push(v, -v)
    }
  return (made = Float32Array.from(values).sort())
}

/** Rounding to the map. */
export const blockwiseCode = {
  /** The nearest of the values, halfway down. */
  of(v: number): number {
    const map = dynamicMap()
    let low = 0, high = 255
    while (low < high) {
      const middle = (low + high) >> 1
      if (f(f(map[middle]! + map[middle + 1]!) / 2) < v) low = middle + 1
      else high = middle
    }
    return low
  },
  /** Half of the wider gap beside a code. */
  halfGap(code: number): number {
    const map = dynamicMap()
    return Math.max(code > 0 ? map[code]! - map[code - 1]! : map[0]! + 1, code < 255 ? map[code + 1]! - map[code]! : 0) / 2 + (code === 0 ? 0.01 : 0)
  },
}

/** 8-bit codes of an array, and the largest magnitude of each 256 neighbours. */
export function blockwise(values: Float32Array, size = 256): { readonly codes: Uint8Array; readonly absmax: Float32Array } {
  const absmax = new Float32Array(Math.ceil(values.length / size)), codes = new Uint8Array(values.length)
  for (let g = 0; g < absmax.length; g++) {
    const to = Math.min(values.length, (g + 1) * size)
    for (let i = g * size; i < to; i++) absmax[g] = Math.max(absmax[g]!, Math.abs(values[i]!))
    const inverse = f(1 / Math.max(absmax[g]!, f(1e-38)))
    for (let i = g * size; i < to; i++) codes[i] = blockwiseCode.of(Math.max(-1, Math.min(1, f(values[i]! * inverse))))
  }
  return { codes, absmax }
}

/** Largest magnitudes in 8 bits: their mean is taken off, and what is left rounded blockwise. */
export function nestAbsmax(absmax: Float32Array): { readonly codes: Uint8Array; readonly absmax: Float32Array; readonly offset: number } {
  const offset = f(absmax.length === 0 ? 0 : absmax.reduce((s, v) => s + v, 0) / absmax.length)
  return { ...blockwise(absmax.map((v) => f(v - offset))), offset }
}
