import type { Peer } from "../../peer.ts"

export const peer: Peer = { name: "crashing", prepare: async () => process.exit(3) }
