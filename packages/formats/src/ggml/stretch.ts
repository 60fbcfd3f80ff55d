// Scales of many neighbouring groups at a time: by vectors where there are some, which is several times as fast.
import { openLanes, place, room, type Lanes } from "./lanes.ts"
import { f } from "./round.ts"
import { affine, symmetric, type Affine, type AffineSearch } from "./search.ts"

/** A stretch of a row: a caller fills in values and weights, and reads scales and drops per group. */
export interface Stretch {
  /** As many elements as fit, whole super-blocks. */
  readonly values: Float32Array
  readonly weights: Float32Array
  readonly scales: Float32Array
  readonly drops: Float32Array
  /** Of each group of n what {@link affine} finds, besides codes. */
  affine(n: 16 | 32, groups: number, search: AffineSearch): void
  /** Of each group of 16 what {@link symmetric} finds, besides codes. */
  symmetric(groups: number, top: number, weighted: boolean): void
}

function plainStretch(): Stretch {
  const values = new Float32Array(room), weights = new Float32Array(room), scales = new Float32Array(room / 16), drops = new Float32Array(room / 16)
  const codes = new Uint8Array(32), found: Affine = { scale: 0, drop: 0 }
  return {
    values, weights, scales, drops,
    affine(n, groups, search) {
      for (let g = 0; g < groups; g++) {
        affine(n, search, values, n * g, weights, n * g, codes, 0, found)
        scales[g] = found.scale
        drops[g] = found.drop
      }
    },
    symmetric(groups, top, weighted) {
      for (let g = 0; g < groups; g++) scales[g] = symmetric(16, top, values, 16 * g, weighted ? weights : undefined, 16 * g, codes, 0)
    },
  }
}

function vectorStretch({ memory: { buffer }, affine16, affine32, magnitude16, symmetric16, weighted16 }: Lanes): Stretch {
  const floats = (at: number, count: number): Float32Array => new Float32Array(buffer, at, count), rates = floats(place.rates, 19)
  return {
    values: floats(place.values, room), weights: floats(place.weights, room), scales: floats(place.scales, room / 16), drops: floats(place.drops, room / 16),
    affine(n, groups, { top, first, rise, tries, magnitude }) {
      (n === 32 ? affine32 : magnitude ? magnitude16 : affine16)(groups, top, first, rise, tries)
    },
    symmetric(groups, top, weighted) {
      let count = 0
      // The plain rate comes first.
      for (const t of [0, -9, -8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7, 8, 9]) rates[count++] = -f(top + f(f(0.1) * t));
      (weighted ? weighted16 : symmetric16)(groups, top, place.rates, count)
    },
  }
}

let opened: Stretch | undefined
/** The stretch that all encoders of a thread use, one after another. */
export function stretch(): Stretch {
  if (opened === undefined) {
    const lanes = openLanes()
    opened = lanes === undefined ? plainStretch() : vectorStretch(lanes)
  }
  return opened
}

/** Both ways, so that they can be compared; the vectors' is missing where an engine lacks them. */
export function stretches(): { readonly plain: Stretch; readonly vectors: Stretch | undefined } {
  const lanes = openLanes()
  return { plain: plainStretch(), vectors: lanes && vectorStretch(lanes) }
}
