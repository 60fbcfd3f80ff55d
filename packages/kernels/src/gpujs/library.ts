import { fail } from "@thimble/core"
import { inNode } from "../wasm/node.ts"
import { functions } from "./functions.ts"

/** The part of gpu.js that is used here; it comes from the optional package of that name. */
export interface GpuKernel {
  (...args: readonly (number | Float32Array | Handle)[]): Result | Handle | Promise<Result | Handle>
  /** The kernel that is run is built at the first call, and is another one then. */
  setOutput(output: readonly number[]): void
  destroy(removeCanvas?: boolean): void
}
/** An element is a number, or an array of two. */
export type Result = Float32Array | readonly ArrayLike<number>[]
/** What a kernel gives whose numbers stay on the GPU: a texture of WebGL, or a buffer of WebGPU. */
export interface Handle {
  delete(): void
  readonly texture?: WebGLTexture & { readonly _refs: number }
  readonly context: Pick<WebGL2RenderingContext, "deleteTexture"> | object
}
export interface KernelSettings {
  readonly output: readonly number[]
  readonly argumentTypes: Readonly<Record<string, "Array" | "ArrayTexture(1)" | "Float">>
  readonly dynamicArguments: boolean
  readonly dynamicOutput?: boolean
  /** Gives a handle. */
  readonly pipeline?: boolean
  /** Every call gives a handle of its own. */
  readonly immutable?: boolean
  readonly precision: "single"
  /** False: divisions are what the mode divides. */
  readonly fixIntegerDivisionAccuracy: false
  readonly asyncMode: boolean
  /** Unless told, gpu.js declares small results `lowp`, which on phones is less than f32, and a kernel cannot give larger ones later. */
  readonly tactic: "precision"
}
export interface Gpu {
  createKernel(source: string, settings: KernelSettings): GpuKernel
  addFunction(source: string, settings: { readonly argumentTypes: Readonly<Record<string, string>>; readonly returnType: string }): Gpu
  destroy(): Promise<void>
  /** In mode webgl2, once there is a kernel. */
  readonly context: WebGL2RenderingContext | null
}
interface GpuClass {
  new (settings: { readonly mode: GpujsMode }): Gpu
  readonly isWebGL2Supported: boolean
  readonly isSinglePrecisionSupported: boolean
  isWebGPUAvailable(): Promise<boolean>
}
interface Library { readonly GPU?: GpuClass; readonly default?: GpuClass & { readonly GPU?: GpuClass } }

/** How gpu.js runs its kernels: on a GPU through WebGPU or WebGL2, as WebAssembly, or as JavaScript. */
export type GpujsMode = "webgpu" | "webgl2" | "webasm" | "cpu"
export const gpujsModes = ["webgpu", "webgl2", "webasm", "cpu"] as const satisfies readonly GpujsMode[]

/** Loads gpu.js and starts it: in `mode`, or through WebGL2 where there is a page with it, and as WebAssembly elsewhere. */
export async function startLibrary(mode: GpujsMode | undefined): Promise<{ gpu: Gpu; mode: GpujsMode }> {
  const library = await (import("gpu.js") as Promise<unknown> as Promise<Library>).catch((e: unknown) =>
    fail("device", "open", `the gpujs device needs the package gpu.js, which cannot be loaded (${e instanceof Error ? e.message.split("\n")[0] : String(e)})`, "npm install gpu.js@2.24.1"))
  const GPU = library.GPU ?? library.default?.GPU ?? library.default
  if (typeof GPU !== "function") fail("device", "open", "the package gpu.js exports no GPU", "npm install gpu.js@2.24.1")
  const hasWebGL = GPU.isWebGL2Supported && GPU.isSinglePrecisionSupported
  const chosen = mode ?? (hasWebGL ? "webgl2" : "webasm")
  if (chosen === "webgl2" && !hasWebGL) fail("device", "open", "there is no WebGL2 with float textures here", 'use { mode: "webasm" }')
  if (chosen === "webgpu" && !(await GPU.isWebGPUAvailable()))
    fail("device", "open", "gpu.js finds no WebGPU adapter through navigator.gpu", inNode ? 'open("webgpu") needs none; or use { mode: "webasm" }' : `use { mode: "${hasWebGL ? "webgl2" : "webasm"}" }`)
  const gpu = new GPU({ mode: chosen })
  for (const { source, parameters } of functions) gpu.addFunction(source, { argumentTypes: Object.fromEntries(parameters.map((p) => [p, "Number"])), returnType: "Number" })
  return { gpu, mode: chosen }
}
