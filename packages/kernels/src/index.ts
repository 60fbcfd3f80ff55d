/** @packageDocumentation Devices: the CPU through WebAssembly, GPUs through WebGPU, and what gpu.js reaches. */
export { best, devices, type DeviceInfo } from "./choose.ts"
export { open, type OpenOptions } from "./open.ts"
export type { GpujsMode } from "./gpujs/library.ts"
export type { GpuDevice } from "./webgpu/device.ts"
export type { Features, Numbers, SubgroupMatrix } from "./wgsl/template/holes.ts"
