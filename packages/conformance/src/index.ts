/** The devices, and the recorded values that each of them must reproduce. */
export * from "./devices.ts"
export * from "./golden.ts"
export * from "./compare.ts"
