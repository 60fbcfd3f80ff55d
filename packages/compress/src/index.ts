/** @packageDocumentation Storage formats for compressed weights. */
export { int, type IntOptions } from "./format/int.ts"
export { ggml, type GgmlName } from "./format/ggml/index.ts"
export type { BlockFormat } from "./format/ggml/block.ts"
