/** @packageDocumentation Storage formats for compressed weights. */
export { int, type IntOptions } from "./format/int.ts"
export { ggml, type BlockFormat, type GgmlName } from "@thimble/formats"
