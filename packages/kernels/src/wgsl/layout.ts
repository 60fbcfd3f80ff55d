// How a kernel's parameters are bound: in one piece; in windows, if larger than a binding may be; or, where there are more
// than an adapter binds, copied into one buffer with others.
import { bytesOf, fail, type Kernel } from "@thimble/core"
import type { Features } from "./template/holes.ts"

export interface Layout {
  /** How many windows show each parameter: one unless it is larger than a binding. */
  readonly windows: readonly number[]
  /** Parameters that share a buffer. */
  readonly packed: readonly number[]
}

/** 32-bit words of a window, a power of two. All windows of a parameter but the last are full. */
export const windowWords = ({ bindingBytes }: Features): number => 2 ** Math.floor(Math.log2(bindingBytes / 4))

/** `scratches`: bindings that are taken. */
export function layoutOf(kernel: Kernel, features: Features, scratches = 0): Layout {
  const { bindings, bindingBytes } = features
  const bytes = kernel.sizes.map((n, i) => n * bytesOf(kernel.parameters[i]!)), part = 4 * windowWords(features)
  const windows = bytes.map((b) => (b <= bindingBytes ? 1 : Math.ceil(b / part)))
  const needed = windows.reduce((sum, n) => sum + n, scratches)
  if (needed <= bindings) return { windows, packed: [] }
  // Those that share a buffer take one binding.
  const most = windows.flatMap((n, i) => (i > 0 && n === 1 ? [i] : [])), count = needed - bindings + 1
  if (count <= most.length) return { windows, packed: most.slice(-count) }
  const what = kernel.kind === "template" ? kernel.name : kernel.kind
  return fail("memory", what, `the adapter binds ${bindings} buffers of at most ${bindingBytes} bytes, and this takes ${needed - Math.max(0, most.length - 1)} of ${part} (it reads or writes tensors of ${bytes.filter((b) => b > bindingBytes).join(", ")} bytes)`,
    "store large tensors in fewer bits, or in several parts, or compute on the wasm device")
}

/** What layouts of kernels of equal text differ in; empty for most. */
export const layoutKey = ({ windows }: Layout): string => (windows.some((n) => n > 1) ? ` windows ${windows.join(" ")}` : "")
