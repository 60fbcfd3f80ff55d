// Numbers of the WebGPU specification. Browsers have them as globals, Node does not.

/** GPUBufferUsage. */
export const usage = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, uniform: 0x40, storage: 0x80 } as const
/** GPUMapMode.READ */
export const mapForReading = 0x1
/** GPUShaderStage.COMPUTE */
export const computeStage = 0x4
