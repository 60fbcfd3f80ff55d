/** Random numbers: counter-based, splittable, the same on every device. */
export { foldIn, key, split, type Key } from "./key.ts"
export { bits, uniform, type UniformOptions } from "./uniform.ts"
export { normal, truncatedNormal, type NormalOptions, type TruncatedNormalOptions } from "./normal.ts"
export { bernoulli, dropout, permutation, randint, type RandintOptions } from "./discrete.ts"
export { categorical, gumbel } from "./categorical.ts"
export { rand, randn, type SeedOptions } from "./seeded.ts"
