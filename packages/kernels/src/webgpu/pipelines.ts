// Pipelines by their text: equal kernels, and equal passes of different kernels, share one.
import { ThimbleError } from "@thimble/core"
import { computeStage } from "./constants.ts"
import { firstLine } from "./instance.ts"

/** What a pipeline is made from. */
interface Text { readonly code: string; readonly bindings: readonly { readonly writes: boolean }[]; readonly readsArguments: boolean }

export interface Pipeline {
  readonly gpu: GPUComputePipeline
  readonly layout: GPUBindGroupLayout
  /** Names the layout in keys. */
  readonly access: string
}

export class Pipelines {
  private readonly device: GPUDevice
  /** Of the arguments: a row of words at an offset that each call gives. */
  readonly argumentLayout: GPUBindGroupLayout
  private readonly layouts = new Map<string, { group: GPUBindGroupLayout; plain: GPUPipelineLayout; withArguments: GPUPipelineLayout }>()
  private readonly made = new Map<string, Promise<Pipeline>>()

  constructor(device: GPUDevice) {
    this.device = device
    this.argumentLayout = device.createBindGroupLayout({ entries: [{ binding: 0, visibility: computeStage, buffer: { type: "uniform", hasDynamicOffset: true } }] })
  }

  get count(): number {
    return this.made.size
  }
  clear(): void {
    this.made.clear()
  }
  get(pass: Text, what: string): Promise<Pipeline> {
    let one = this.made.get(pass.code)
    if (one === undefined) {
      one = this.make(pass, what)
      one.catch(() => this.made.delete(pass.code))
      this.made.set(pass.code, one)
    }
    return one
  }

  private async make({ code, bindings, readsArguments }: Text, what: string): Promise<Pipeline> {
    const access = bindings.map((b) => (b.writes ? "w" : "r")).join("")
    const { group, plain, withArguments } = this.layout(access)
    this.device.pushErrorScope("validation")
    const module = this.device.createShaderModule({ code })
    const invalid = this.device.popErrorScope()
    try {
      const gpu = await this.device.createComputePipelineAsync({ label: what, layout: readsArguments ? withArguments : plain, compute: { module, entryPoint: "main" } })
      await invalid
      return { gpu, layout: group, access }
    } catch (e) {
      const { messages } = await module.getCompilationInfo()
      const at = messages.filter((m) => m.type === "error").map((m) => `line ${m.lineNum}: ${m.message}`)
      throw new ThimbleError("internal", "webgpu", `${what} does not compile (${at[0] ?? firstLine(e)})`, code.slice(0, 4000))
    }
  }

  private layout(access: string) {
    let known = this.layouts.get(access)
    if (known === undefined) {
      const group = this.device.createBindGroupLayout({
        entries: Array.from(access, (a, binding) => ({ binding, visibility: computeStage, buffer: { type: a === "w" ? ("storage" as const) : ("read-only-storage" as const) } })),
      })
      const of = (...bindGroupLayouts: GPUBindGroupLayout[]): GPUPipelineLayout => this.device.createPipelineLayout({ bindGroupLayouts })
      this.layouts.set(access, (known = { group, plain: of(group), withArguments: of(group, this.argumentLayout) }))
    }
    return known
  }
}
