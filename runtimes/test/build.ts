import { build } from "../build.ts"

/** Once for all test files. */
export const setup = build
