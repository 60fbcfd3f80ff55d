/** @packageDocumentation Devices: the CPU through WebAssembly. */
export { best, devices, type DeviceInfo } from "./choose.ts"
export { open, type OpenOptions } from "./open.ts"
