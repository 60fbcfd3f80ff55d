import type { Method } from "./method.ts"

/** Leaves matrices as they are. */
export const keep = (): Method => ({ name: "keep", toJSON: () => ({ method: "keep" }), target: () => undefined, round: () => undefined })
