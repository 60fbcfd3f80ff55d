// Hands dispatches over to the queue: one command buffer with one pass, unless something has to be copied between.
import { gridWidth, type EmittedPass } from "../wgsl/emitted.ts"
import { ArgumentRows, type Arguments } from "./arguments.ts"
import type { Dispatch } from "./dispatches.ts"
import { windowOf, type BindGroups } from "./groups.ts"
import type { Pipeline, Pipelines } from "./pipelines.ts"
import type { Memory, Pool } from "./pool.ts"

/** Bytes copied before a step. */
export interface Copy { readonly from: Memory; readonly to: Memory; readonly at: number; readonly bytes: number }
/** A pass of a call, and what it binds. */
export interface Step { readonly pass: EmittedPass; readonly pipeline: Pipeline; readonly bound: readonly Memory[]; readonly args: Arguments; readonly copies: readonly Copy[] }
/** A dispatch about to be encoded. */
interface Start { readonly dispatch: Dispatch | undefined; readonly steps: readonly Step[]; readonly pipeline: Pipeline; readonly units: number; readonly readsArguments: boolean; readonly offset: number }

export class Submissions {
  private readonly gpu: GPUDevice
  private readonly groups: BindGroups
  private readonly argumentLayout: GPUBindGroupLayout
  private readonly uniforms: Pool
  private readonly rows = new ArgumentRows()
  private readonly zeros: Memory

  constructor(gpu: GPUDevice, { groups, pipelines, uniforms }: { readonly groups: BindGroups; readonly pipelines: Pipelines; readonly uniforms: Pool }) {
    this.gpu = gpu
    this.groups = groups
    this.argumentLayout = pipelines.argumentLayout
    this.uniforms = uniforms
    // New buffers are zero.
    this.zeros = uniforms.take(1024)
  }

  /** Encodes the dispatches whose steps take place, and hands them over. */
  submit(steps: readonly (Step | undefined)[], dispatches: readonly Dispatch[]): void {
    const starts: Start[] = []
    for (const d of dispatches) {
      const own: Step[] = []
      for (const p of d.passes) if (steps[p] !== undefined) own.push(steps[p])
      if (d.merged !== undefined && own.length === d.passes.length) starts.push({ dispatch: d, steps: own, ...d.merged, offset: d.merged.readsArguments ? this.rows.add(own.map((s) => s.args), d.merged.rows) : 0 })
      else for (const step of own) starts.push({ dispatch: own.length === 1 && d.merged === undefined ? d : undefined, steps: [step], pipeline: step.pipeline, units: step.pass.units, readsArguments: step.pass.readsArguments, offset: step.pass.readsArguments ? this.rows.add([step.args]) : 0 })
    }
    if (starts.length === 0) return
    const uniform = this.rows.upload(this.uniforms, this.gpu.queue) ?? this.zeros, args = this.groups.arguments(this.argumentLayout, uniform)
    const encoder = this.gpu.createCommandEncoder()
    // What the pass has already.
    let pass: GPUComputePassEncoder | undefined, current: Pipeline | undefined, row = -1
    for (const { dispatch, steps: own, pipeline, units, readsArguments, offset } of starts) {
      for (const { copies } of own) {
        if (copies.length === 0) continue
        pass?.end()
        pass = undefined
        for (const { from, to, at, bytes } of copies) encoder.copyBufferToBuffer(from.block.gpu, 0, to.block.gpu, at, bytes)
      }
      if (pass === undefined) {
        pass = encoder.beginComputePass()
        current = undefined
        row = -1
      }
      if (pipeline !== current) pass.setPipeline((current = pipeline).gpu)
      pass.setBindGroup(0, this.groupOf(pipeline, own, dispatch))
      if (readsArguments && row !== offset) pass.setBindGroup(1, args, [(row = offset)])
      pass.dispatchWorkgroups(Math.min(units, gridWidth), Math.ceil(units / gridWidth))
    }
    pass?.end()
    this.gpu.queue.submit([encoder.finish()])
  }

  /** The buffers of some steps, as one group: mostly what the dispatch had the last time. */
  private groupOf(pipeline: Pipeline, steps: readonly Step[], dispatch: Dispatch | undefined): GPUBindGroup {
    if (dispatch?.group !== undefined) {
      let at = 0, same = true
      for (const { bound } of steps) for (let i = 0; i < bound.length && same; i++) same = bound[i]!.block === dispatch.blocks[at++]
      if (same) return dispatch.group
    }
    const bound = steps.length === 1 ? steps[0]!.bound : steps.flatMap((s) => s.bound)
    const group = this.groups.of(pipeline, bound, steps.flatMap((s) => s.pass.bindings.map(windowOf)))
    if (dispatch !== undefined) {
      dispatch.blocks = bound.map((m) => m.block)
      dispatch.group = group
    }
    return group
  }

  /** After the last dispatch of a program: its arguments are not needed any more. */
  end(): void {
    this.rows.clear(this.uniforms)
  }
}
