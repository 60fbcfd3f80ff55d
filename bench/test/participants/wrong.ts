import { prepareFrom, type Peer } from "../../peer.ts"

/** Answers with zeros. */
export const peer: Peer = {
  name: "wrong",
  prepare: (work, threads) =>
    prepareFrom(
      {
        exp: ({ dims }) => ({ run: async () => {}, result: async () => new Float32Array(dims.size), close: async () => {} }),
      },
      work,
      threads,
    ),
}
