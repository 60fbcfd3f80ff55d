/** @packageDocumentation Devices: the CPU through WebAssembly. */
export { open, type OpenOptions } from "./open.ts"
