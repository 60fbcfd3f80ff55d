/** All functions of tensors. A method of the same name is lifted from each that takes a tensor first (see methods.ts). */
export * from "./create.ts"
export * from "./elementwise.ts"
export * from "./movement.ts"
export * from "./reduce.ts"
export * from "./matmul.ts"
export { gather, take, scatterAdd } from "./indexing.ts"
export * from "./scatter.ts"
