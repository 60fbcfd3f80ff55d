import type { Stores } from "@thimble/models"
import type { Method } from "./method.ts"

/** Leaves matrices as they are. */
export const keep = (): Method & Stores<"kept"> => ({ name: "keep", toJSON: () => ({ method: "keep" }), target: () => undefined, round: () => undefined })
