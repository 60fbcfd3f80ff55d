import { type Peer, prepareFrom } from "../peer.ts"
import { standInForWebWorkers } from "./web-worker.ts"

export const peer: Peer = {
  name: "jax-js",
  async prepare(work, threads) {
    // As shipped it uses one thread in Node; given the browser's Worker it uses as many as the machine claims to have.
    if (threads > 1) standInForWebWorkers(threads)
    const { abilities } = await import("./jax-js-abilities.ts")
    return prepareFrom(abilities, work, threads)
  },
}
