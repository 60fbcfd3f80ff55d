import { fail } from "@thimble/core"
import { sha256 } from "@thimble/models"
import { type Data } from "./data.ts"

/** The first batches of data, again and again: what a teacher's stored answers are good for. */
export function repeat(data: Data, batches: number): Data {
  if (!(Number.isInteger(batches) && batches >= 1)) fail("value", "repeat", `batches must be a whole number ≥ 1, got ${batches}`)
  return { ...data, period: batches, batch: (index, now) => data.batch(index % batches, now), id: async () => sha256(`repeat ${batches}`, await data.id()) }
}
