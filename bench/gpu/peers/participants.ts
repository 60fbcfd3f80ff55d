// Thimble and its peers in JavaScript, all on the WebGPU of navigator.gpu. Each is imported in a process of its own.
import { readFile } from "node:fs/promises"
import { promisify } from "node:util"
import { brotliDecompress } from "node:zlib"
import { prepareFrom, type Absent, type Ready } from "../../peer.ts"
import type { Work } from "../../work.ts"

type Prepare = (work: Work) => Promise<Ready | Absent>

/** Opens a library on the GPU. */
export const participants: Readonly<Record<string, () => Promise<Prepare>>> = {
  async thimble() {
    const [{ open }, { abilities }] = [await import("@thimble/kernels"), await import("../../ours.ts")]
    await open("webgpu", { powerPreference: "high-performance" })
    return (work) => prepareFrom(abilities, work, 1)
  },
  async "onnxruntime-web"() {
    const { env } = await import("onnxruntime-web/webgpu")
    env.wasm.numThreads = 1
    env.wasm.wasmBinary = await wasm("ort-wasm-simd-threaded.asyncify.wasm")
    const { prepareGpuSession } = await import("../../onnx/gpu-session.ts")
    return prepareGpuSession
  },
  async "jax-js"() {
    const { defaultDevice, init } = await import("@jax-js/jax")
    if (!(await init("webgpu")).includes("webgpu")) throw new Error("jax-js found no WebGPU")
    defaultDevice("webgpu")
    const { abilities, underWay } = await import("../../peers/jax-js-abilities.ts")
    underWay.most = 8
    return (work) => prepareFrom(abilities, work, 1)
  },
  async tfjs() {
    const { backend, setBackend } = await import("@tensorflow/tfjs-core")
    await import("@tensorflow/tfjs-backend-webgpu")
    if (!(await setBackend("webgpu"))) throw new Error("TensorFlow.js could not open its WebGPU backend")
    const { abilities } = await import("../../peers/tfjs-abilities.ts")
    // It hands kernels to the GPU in batches, the last of which goes when somebody reads, or by the means it reads with.
    const queue = backend() as unknown as { ensureCommandEncoderReady(): void; endComputePassEncoder(): void; submitQueue(): void }
    const wait = async (): Promise<void> => {
      queue.ensureCommandEncoderReady()
      queue.endComputePassEncoder()
      queue.submitQueue()
    }
    return async (work) => {
      const ready = await prepareFrom(abilities, work, 1)
      return "absent" in ready ? ready : { ...ready, wait }
    }
  },
}

/** A file of onnxruntime-web: beside this one and compressed where all of it was bundled, else where it is installed. */
async function wasm(name: string): Promise<ArrayBuffer> {
  const packed = await readFile(new URL(`${name}.br`, import.meta.url)).catch(() => undefined)
  const bytes = packed === undefined ? await readFile(new URL(import.meta.resolve(`onnxruntime-web/${name}`))) : await promisify(brotliDecompress)(packed)
  return new Uint8Array(bytes).buffer
}
