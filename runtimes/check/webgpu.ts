// For runtimes with a WebGPU of their own: every op, beside the reference device.
import { referenceDevice } from "@thimble/core"
import { devices, open } from "@thimble/kernels"
import { supportOf } from "../../packages/conformance/src/support.ts"
import type { Verdict } from "./check.ts"

const start = performance.now(), found = (await devices()).find((d) => d.name === "webgpu")!
const faults: string[] = []
if (!found.available) faults.push(found.reason)
else {
  const device = await open("webgpu")
  // Few cases: a driver without a GPU compiles slowly what comes of its shaders.
  for (const [op, support] of await supportOf(device, referenceDevice(), { f64: false, subnormals: false, share: 0.1, corners: 1 })) if (typeof support === "object" && "wrong" in support) faults.push(`${op}: ${support.wrong}`)
  await device.close()
}
console.log(JSON.stringify({ threads: [], faults, seconds: (performance.now() - start) / 1000 } satisfies Verdict))
