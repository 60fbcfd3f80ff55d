// Turns a kernel into WGSL: what the webgpu device compiles and dispatches.
import { expr, fail, sizeOf, type Kernel } from "@thimble/core"
import type { Emitted } from "./emitted.ts"
import { emitMap } from "./map.ts"
import { layoutOf } from "./layout.ts"
import { emitReduce } from "./reduce.ts"
import { emitTemplate } from "./template.ts"
import type { Features } from "./template/holes.ts"

export function emitKernel(kernel: Kernel, features: Features): Emitted {
  if (kernel.parameters.includes("f64") || kernel.scalars.includes("f64")) fail("dtype", "webgpu", "has no f64", "cast to f32, or compute on the wasm device")
  if (sizeOf(kernel.shape) === 0) return { passes: [], scratch: {}, packed: [] }
  return expr.freshExprs((): Emitted => {
    const { passes, scratch } = kernel.kind === "map" ? { passes: [emitMap(kernel, features)], scratch: {} } : kernel.kind === "reduce" ? emitReduce(kernel, features) : emitTemplate(kernel, features)
    return { passes, scratch, packed: layoutOf(kernel, features, Object.keys(scratch).length).packed }
  })
}
