/** @packageDocumentation Files that tensors live in: safetensors. */
export { openSource, type Source, type SourceLike } from "./source.ts"
export { dtypeNames, type Entry, type FileDType } from "./safetensors-header.ts"
export { encodeSafetensors, openSafetensors, saveSafetensors, type RawTensor, type SafetensorsFile, type SafetensorsOptions } from "./safetensors.ts"
