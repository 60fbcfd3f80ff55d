/** What a block's modules are told apart by, whether queries, keys and values, or gate and up, are one matrix or several. */
export type Slot = "attentionNorm" | "query" | "key" | "value" | "output" | "feedNorm" | "gate" | "up" | "down"

/** How the matrices of a block hang together, as an architecture states it. */
export interface Links {
  /**
   * What can be divided out of the results of `from` (rows of a matrix and its bias, or elements of a norm) and multiplied
   * into the columns of `into`, channel by channel, without a change of what the block computes.
   */
  readonly fold: readonly { readonly from: Slot; readonly into: readonly Slot[] }[]
  /** Channels that can be reordered or left out together: rows of some matrices, columns of others. */
  readonly channels: readonly { readonly name: "hidden" | "heads"; readonly rows: readonly Slot[]; readonly columns: readonly Slot[] }[]
}

const gatedChannels = [
  { name: "hidden", rows: ["gate", "up"], columns: ["down"] },
  { name: "heads", rows: ["query", "key", "value"], columns: ["output"] },
] as const
/** Of blocks whose feed-forward part has a gate. */
export const gatedLinks: Links = {
  fold: [
    { from: "attentionNorm", into: ["query", "key", "value"] },
    { from: "value", into: ["output"] },
    { from: "feedNorm", into: ["gate", "up"] },
    { from: "up", into: ["down"] },
  ],
  channels: gatedChannels,
}
/** Of blocks whose feed-forward part is two matrices with a nonlinearity between them. */
export const plainLinks: Links = {
  fold: [
    { from: "attentionNorm", into: ["query", "key", "value"] },
    { from: "value", into: ["output"] },
    { from: "feedNorm", into: ["up"] },
  ],
  channels: [{ name: "hidden", rows: ["up"], columns: ["down"] }, gatedChannels[1]],
}
/** {@link plainLinks} where norms come after: nothing can be divided out of what a norm gives, for the stream goes on with it. */
export const postNormLinks: Links = { fold: [{ from: "value", into: ["output"] }], channels: plainLinks.channels }
/** {@link plainLinks} where attention and feed-forward part read the result of one norm. */
export const sharedNormLinks: Links = {
  fold: [{ from: "attentionNorm", into: ["query", "key", "value", "up"] }, { from: "value", into: ["output"] }],
  channels: plainLinks.channels,
}
