import type { Device } from "@thimble/core"

/** The webgpu device, as far as the benchmark looks behind it. */
export interface GpuDevice extends Device {
  readonly adapter: string
  readonly features: object
  readonly gpu: GPUDevice
  settled(): Promise<void>
}

/** What was measured of the adapter itself, to compare with. */
export interface Ceilings { copyGbs: number; f32Tflops: number; f16Tflops: number }

export interface Context {
  readonly device: GpuDevice
  readonly ceilings: Ceilings
  /** Sizes for a machine without a GPU: everything runs, and no figure means anything. */
  readonly tiny: boolean
  /** Milliseconds that a part may still take. */
  left(): number
  /** Prints a line, and keeps its figures for the file. */
  row(name: string, figures: Readonly<Record<string, number | string>>): void
}

/** One part of the benchmark, with the time it may take at most. */
export interface Part {
  readonly name: string
  readonly seconds: number
  run(context: Context): Promise<void>
}
