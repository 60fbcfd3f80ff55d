import * as tf from "@tensorflow/tfjs-core"
import "@tensorflow/tfjs-backend-wasm"
import { type Peer, prepareFrom } from "../peer.ts"
import { abilities } from "./tfjs-abilities.ts"

export const peer: Peer = {
  name: "tfjs-wasm",
  async prepare(work, threads) {
    if (threads > 1) return { absent: "single-threaded in Node" }
    await tf.setBackend("wasm")
    return prepareFrom(abilities, work, threads)
  },
}
