// Bind groups by what they bind: equal ones are one, and go when one of their buffers does.
import type { Binding } from "../wgsl/module.ts"
import { argumentGroup } from "./arguments.ts"
import type { Pipeline } from "./pipelines.ts"
import type { Block, Memory } from "./pool.ts"

/** Groups that are kept; graphs that are never the same would make more and more of them. */
const most = 1 << 14

/** The number of the window that a binding shows, where it does not show all of a buffer. */
export const windowOf = (b: Binding): number | undefined => (b.kind === "parameter" ? b.window : undefined)

export class BindGroups {
  /** How many were made. */
  made = 0
  private readonly device: GPUDevice
  private readonly windowBytes: number
  /** Bytes of a buffer that can be bound at once. */
  private readonly boundBytes: number
  private readonly groups = new Map<string, GPUBindGroup>()

  constructor(device: GPUDevice, { boundBytes, windowBytes }: { readonly boundBytes: number; readonly windowBytes: number }) {
    this.device = device
    this.boundBytes = boundBytes
    this.windowBytes = windowBytes
  }
  of({ layout, access }: Pipeline, bound: readonly Memory[], windows: readonly (number | undefined)[]): GPUBindGroup {
    let key = access
    for (let i = 0; i < bound.length; i++) {
      const { id } = bound[i]!.block
      key += windows[i] === undefined ? ` ${id}` : ` ${id}.${windows[i]}`
    }
    return this.kept(key, bound, () => this.device.createBindGroup({ layout, entries: bound.map((m, binding) => ({ binding, resource: this.shown(m, windows[binding]) })) }))
  }
  arguments(layout: GPUBindGroupLayout, memory: Memory): GPUBindGroup {
    return this.kept(`arguments ${memory.block.id}`, [memory], () => argumentGroup(this.device, layout, memory.block.gpu))
  }
  forget({ dependents }: Block): void {
    for (const key of dependents) this.groups.delete(key)
  }
  clear(): void {
    this.groups.clear()
  }

  /** What a binding shows of a buffer, which may be larger than what it holds. */
  private shown({ block: { gpu, size } }: Memory, window: number | undefined): GPUBufferBinding {
    if (window === undefined) return size <= this.boundBytes ? { buffer: gpu } : { buffer: gpu, size: this.boundBytes }
    const offset = window * this.windowBytes
    return { buffer: gpu, offset, size: Math.min(this.windowBytes, size - offset) }
  }
  private kept(key: string, bound: readonly Memory[], make: () => GPUBindGroup): GPUBindGroup {
    let group = this.groups.get(key)
    if (group === undefined) {
      if (this.groups.size >= most) this.groups.clear()
      this.groups.set(key, (group = make()))
      this.made++
      for (const m of bound) m.block.dependents.add(key)
    }
    return group
  }
}
