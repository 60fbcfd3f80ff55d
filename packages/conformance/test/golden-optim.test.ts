import { afterAll, beforeAll, describe, expect, test } from "vitest"
import {
  accumulate, adadelta, adagrad, adam, adamW, castTo, clipGradNorm, compile, currentDevice, realize, rmsprop, schedule, selectAt, sgd, useDevice,
  type Device, type DType, type Optimizer, type Schedule, type Tensor,
} from "@thimble/core"
import { differences } from "../src/compare.ts"
import { devices } from "../src/devices.ts"
import { openGolden } from "../src/golden.ts"

type Arguments = Readonly<Record<string, never>>
interface Run { readonly optimizer: keyof typeof spellings; readonly kwargs: Arguments; readonly trajectories: readonly string[] }
interface Recorded { readonly schedule: keyof typeof schedules; readonly base_lr: number; readonly params: Arguments; readonly lr_at_step: readonly number[] }
interface Manifest {
  readonly optimizers: { readonly params: readonly string[]; readonly grads: readonly string[]; readonly runs: readonly Run[] }
  readonly clip_grad_norm: { readonly max_norm: number; readonly total_norm: number; readonly clipped: readonly string[] }
  readonly schedules: readonly Recorded[]
}
const set = await openGolden<Manifest>("ops")
const { optimizers, clip_grad_norm: clip, schedules: recorded } = set.manifest

/** torch's optimizers, from its arguments to ours. */
const spellings = {
  SGD: ({ lr, momentum, dampening, nesterov, weight_decay }: Arguments) => sgd({ rate: lr, momentum, dampening, nesterov, weightDecay: weight_decay }),
  Adam: ({ lr, betas, eps, weight_decay, amsgrad }: Arguments) => adam({ rate: lr, betas, eps, weightDecay: weight_decay, amsgrad }),
  AdamW: ({ lr, betas, eps, weight_decay }: Arguments) => adamW({ rate: lr, betas, eps, weightDecay: weight_decay }),
  RMSprop: ({ lr, alpha, eps, momentum, centered }: Arguments) => rmsprop({ rate: lr, alpha, eps, momentum, centered }),
  Adagrad: ({ lr, lr_decay, eps }: Arguments) => adagrad({ rate: lr, rateDecay: lr_decay, eps }),
  Adadelta: ({ lr, rho, eps }: Arguments) => adadelta({ rate: lr, rho, eps }),
} as const satisfies Record<string, (kwargs: Arguments) => Optimizer<{ step: Tensor }>>

/** torch's and transformers' schedules. */
const schedules = {
  StepLR: (rate, { step_size, gamma }) => schedule.stepwise({ rate, every: step_size, factor: gamma }),
  MultiStepLR: (rate, { milestones, gamma }) => schedule.multiStep({ rate, at: milestones, factor: gamma }),
  ExponentialLR: (rate, { gamma }) => schedule.exponential({ rate, factor: gamma }),
  CosineAnnealingLR: (rate, { T_max, eta_min }) => schedule.cosine({ from: rate, to: eta_min, steps: T_max }),
  LinearLR: (rate, { start_factor, end_factor, total_iters }) => schedule.linear({ from: rate * start_factor, to: rate * end_factor, steps: total_iters }),
  PolynomialLR: (rate, { total_iters, power }) => schedule.polynomial({ from: rate, steps: total_iters, power }),
  OneCycleLR: (_rate, { max_lr, total_steps, pct_start, div_factor, final_div_factor }) =>
    schedule.oneCycle({ peak: max_lr, steps: total_steps, rising: pct_start, startDivisor: div_factor, endDivisor: final_div_factor }),
  CosineAnnealingWarmRestarts: (rate, { T_0, T_mult, eta_min }) => schedule.cosineRestarts({ from: rate, to: eta_min, steps: T_0, growth: T_mult }),
  hf_linear_warmup: (rate, { warmup_steps, total_steps }) => schedule.linearWithWarmup({ rate, warmup: warmup_steps, steps: total_steps }),
  hf_cosine_warmup: (rate, { warmup_steps, total_steps }) => schedule.cosineWithWarmup({ rate, warmup: warmup_steps, steps: total_steps }),
} as const satisfies Record<string, (rate: number, params: Arguments) => Schedule>

describe("golden schedules", () => {
  // Recorded by multiplying from step to step, so the last digits differ.
  test.each(recorded)("$schedule", ({ schedule: name, base_lr, params, lr_at_step }) => {
    const rate = schedules[name](base_lr, params)
    expect(differences(lr_at_step.map((_, step) => rate(step)), lr_at_step, { relative: 1e-12, absolute: 1e-17 })).toBeUndefined()
  })
})

describe.each(devices)("golden optimizers on $name", ({ name, open }) => {
  const outer = currentDevice()
  let device: Device
  beforeAll(async () => void useDevice((device = await open())))
  afterAll(async () => {
    useDevice(outer)
    await device.close()
  })
  // The recorded trajectories are f64; the reference device follows them in f64, too.
  const types: readonly (readonly [DType, number])[] = name === "reference" ? [["f64", 1e-11], ["f32", 3e-6]] : [["f32", 3e-6]]

  describe.each(types)("in %s", (dtype, tolerance) => {
    const parameters = (): Tensor[] => optimizers.params.map((p) => castTo(set.tensor({ tensor: p }), dtype))
    const gradients = (step: number): Tensor[] => optimizers.grads.map((g) => castTo(selectAt(set.tensor({ tensor: g }), 0, step), dtype))

    test.each(optimizers.runs.map((r, i) => [i, r.optimizer, JSON.stringify(r.kwargs)] as const))("run %i: %s %s", async (i) => {
      const run = optimizers.runs[i]!
      const rule: Optimizer<{ step: Tensor }> = spellings[run.optimizer](run.kwargs)
      const step = compile((p: Tensor[], g: Tensor[], state: { step: Tensor }) => rule.update(p, g, state), { donate: [0, 2] })
      let p = parameters(), state = rule.init(p)
      const wrong: string[] = []
      const want = run.trajectories.map((t) => set.array(t) as Float64Array)
      for (let t = 0; t < 20; t++) {
        const next = await step(p, gradients(t), state)
        p = next.parameters
        state = next.state
        for (const [k, tensor] of p.entries()) {
          const difference = differences(await tensor.data(), want[k]!.subarray(t * tensor.size, (t + 1) * tensor.size), { relative: tolerance, absolute: tolerance })
          if (difference !== undefined) wrong.push(`step ${t}, parameter ${k}: ${difference}`)
        }
      }
      expect(wrong).toEqual([])
      expect(await state.step.item()).toBe(20)
      expect(step.programs).toBe(1)
    })

    test("clipGradNorm", async () => {
      const { grads, norm } = clipGradNorm(gradients(0), clip.max_norm)
      await realize(norm, ...grads)
      expect(differences([await norm.item()], [clip.total_norm], { relative: 1e-6, absolute: 0 })).toBeUndefined()
      for (const [k, g] of grads.entries()) expect(differences(await g.data(), await set.tensor({ tensor: clip.clipped[k]! }).data(), { relative: 1e-6, absolute: 1e-8 })).toBeUndefined()
    })
    test("accumulating the recorded gradients gives their mean", async () => {
      const steps = [0, 1, 2, 3].map(gradients)
      const mean = accumulate(steps)
      for (const k of mean.keys()) {
        const parts = await Promise.all(steps.map((s) => s[k]!.data()))
        const want = Array.from(parts[0]!, (_, i) => parts.reduce((sum, p) => sum + p[i]!, 0) / 4)
        expect(differences(await mean[k]!.data(), want, { relative: 1e-6, absolute: 1e-7 })).toBeUndefined()
      }
    })
  })
})
