import { tensorsOf } from "@thimble/core"
import type { Model } from "@thimble/models"

/** Releases the tensors of a model that none of the others has. */
export function release(model: Model, ...kept: readonly Model[]): void {
  const others = new Set(kept.flatMap((m) => tensorsOf(m)))
  for (const t of tensorsOf(model)) if (!others.has(t) && !t.disposed) t.dispose()
}
