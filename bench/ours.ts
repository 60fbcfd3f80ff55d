import type { Peer } from "./peer.ts"

/** Thimble itself, in the same shape as its peers. */
export const peer: Peer = {
  name: "thimble",
  async prepare() {
    return { absent: "not built yet" }
  },
}
