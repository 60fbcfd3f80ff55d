import { constant, idempotent, monotone, nearest, saturates, scaling, sign, translation, zero } from "./algebra.ts"
import { bound, oneSided, outputBound } from "./bounds.ts"
import { devices, products } from "./devices.ts"
import { finite, overflow, subnormal } from "./extremes.ts"
import type { Law } from "./law.ts"
import { chunks, groups, permutation, ragged, rows, views } from "./locality.ts"
import { noWorse } from "./search.ts"
import type { LawName } from "./names.ts"
import { unbiased } from "./random.ts"
import { anyBytes, deterministic, storage } from "./storage.ts"
import { extremes, onGrid, rate, saves } from "./stored.ts"
import { casts, converts, fake, frozen, integerSums, learnedSteps, straightThrough } from "./training.ts"

/** Every law of quantizers, by name. */
export const laws: Readonly<Record<LawName, Law>> = {
  bound, outputBound, nearest, idempotent, zero, constant, sign, scaling, translation, monotone, saturates,
  groups, permutation, rows, views, finite, subnormal, overflow, ragged, oneSided, storage, anyBytes, deterministic,
  devices, products, noWorse, onGrid, extremes, rate, saves, unbiased, chunks,
  casts, fake, straightThrough, converts, frozen, learnedSteps, integerSums,
}
