import { fail } from "./errors.ts"
import { enterScope } from "./memory.ts"
import { realize } from "./realize.ts"
import { tensorsOf } from "./tree.ts"

/**
 * Runs `fn`, computes the tensors it returns, and disposes every other tensor whose memory was made inside, also when
 * `fn` throws. Scopes nest; scopes that run at the same time must not overlap (await one before opening the next).
 */
export async function scope<T>(fn: () => T | Promise<T>): Promise<T> {
  if (typeof fn !== "function") fail("value", "scope", `needs a function, got ${typeof fn}`)
  const close = enterScope()
  let keep: ReturnType<typeof tensorsOf> = []
  try {
    const result = await fn()
    const kept = tensorsOf(result)
    await realize(...kept)
    keep = kept
    return result
  } finally {
    close(keep)
  }
}
