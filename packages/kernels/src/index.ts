/** @packageDocumentation Devices: the CPU through WebAssembly, and whatever gpu.js reaches. */
export { open, type OpenOptions } from "./open.ts"
export type { GpujsMode } from "./gpujs/library.ts"
