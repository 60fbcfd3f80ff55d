import type { Tensor } from "./tensor.ts"

let visits = 0

/**
 * Numbers tensors in the order in which a walk over a graph meets them: faster than a map, and nothing to clean up, for
 * visits are counted over all walks. Walks must not overlap, so that no code of ops may run meanwhile.
 */
export class Walk {
  private readonly before = visits
  /** Tensors met so far. */
  get count(): number { return visits - this.before }
  /** Number of a tensor, from 0; negative if it was not met yet. */
  numberOf(t: Tensor): number { return t.visited - this.before - 1 }
  meet(t: Tensor): void { t.visited = ++visits }
}
