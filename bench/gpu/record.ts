// The dispatches of some work, as they are sent, so that they can be sent again.
import type { GpuDevice } from "./part.ts"

type Group = Parameters<GPUComputePassEncoder["setBindGroup"]>
export interface Sent { readonly pipeline: GPUComputePipeline; readonly groups: readonly Group[]; readonly workgroups: readonly [number, number] }
/** Microseconds since the step was begun, at which work was handed over. */
export interface Recorded { readonly sent: readonly Sent[]; readonly submitted: readonly number[] }

/** What is dispatched while `work` runs. */
export async function record({ gpu }: GpuDevice, work: () => Promise<void>): Promise<Recorded> {
  const sent: Sent[] = [], submitted: number[] = []
  const original = gpu.createCommandEncoder.bind(gpu), submit = gpu.queue.submit.bind(gpu.queue), start = performance.now()
  gpu.createCommandEncoder = (descriptor) => {
    const encoder = original(descriptor), begin = encoder.beginComputePass.bind(encoder)
    encoder.beginComputePass = (d) => {
      const pass = begin(d), groups: Group[] = []
      let pipeline: GPUComputePipeline
      const [setPipeline, setBindGroup, dispatch] = [pass.setPipeline.bind(pass), pass.setBindGroup.bind(pass) as (...group: Group) => void, pass.dispatchWorkgroups.bind(pass)]
      pass.setPipeline = (p) => setPipeline((pipeline = p))
      pass.setBindGroup = ((...group: Group) => setBindGroup(...(groups[group[0]] = group))) as typeof pass.setBindGroup
      pass.dispatchWorkgroups = (x, y = 1) => {
        sent.push({ pipeline, groups: [...groups], workgroups: [x, y] })
        dispatch(x, y)
      }
      return pass
    }
    return encoder
  }
  gpu.queue.submit = (buffers) => {
    submit(buffers)
    submitted.push(1e3 * (performance.now() - start))
  }
  try {
    await work()
  } finally {
    gpu.createCommandEncoder = original
    gpu.queue.submit = submit
  }
  return { sent, submitted }
}

/** Puts recorded dispatches into a pass. */
export function encode(pass: GPUComputePassEncoder, sent: readonly Sent[]): void {
  for (const { pipeline, groups, workgroups } of sent) {
    pass.setPipeline(pipeline)
    for (const g of groups) if (g !== undefined) pass.setBindGroup(...g)
    pass.dispatchWorkgroups(...workgroups)
  }
}
