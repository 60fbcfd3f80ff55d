import { describe, expect, test } from "vitest"
import {
  adadelta, adafactor, adagrad, adam, adamW, add, castTo, clipGradNorm, compile, explain, lion, matmul, mean, memory, mul, randn, realize, rmsprop,
  schedule, sgd, square, sub, sum, tanh, tensor, tensorsOf, ThimbleError, valueAndGrad, type Optimizer, type OptimizerState, type Rate, type Tensor,
} from "../src/index.ts"

const values = async (t: Tensor): Promise<number[]> => [...(await t.data())]
const close = (got: readonly number[], want: readonly number[], tolerance = 1e-6): void => {
  expect(got.length).toBe(want.length)
  got.forEach((g, i) => expect(Math.abs(g - want[i]!), `[${i}] ${g} instead of ${want[i]}`).toBeLessThanOrEqual(tolerance * Math.max(1, Math.abs(want[i]!))))
}
const every: Readonly<Record<string, Optimizer<{ step: Tensor }>>> = {
  sgd: sgd({ rate: 0.1 }), momentum: sgd({ rate: 0.05, momentum: 0.9, nesterov: true }), adam: adam({ rate: 0.03, amsgrad: true }), adamW: adamW({ rate: 0.03 }),
  lion: lion({ rate: 0.01, weightDecay: 0.1 }), adafactor: adafactor({ rate: 0.1 }), absolute: adafactor({ rate: 0.02, scale: "absolute" }),
  rmsprop: rmsprop({ rate: 0.01, centered: true, momentum: 0.5 }), adagrad: adagrad({ rate: 0.2 }), adadelta: adadelta({ rate: 3 }),
}

const shape = [3, 4] as const
const start = await values(randn(shape, { seed: 1 }))
const grads = await Promise.all(Array.from({ length: 6 }, (_, t) => values(randn(shape, { seed: 10 + t }))))

describe("rules without golden trajectories", () => {
  const follow = async (rule: Optimizer<{ step: Tensor }>, first: number[] = start, dims: readonly number[] = shape): Promise<number[]> => {
    let p = { w: tensor(first, { dtype: "f64", shape: dims }) }, state = rule.init(p)
    for (const g of grads) ({ parameters: p, state } = rule.update(p, { w: tensor(g.slice(0, first.length), { dtype: "f64", shape: dims }) }, state))
    return values(p.w)
  }

  test("lion is algorithm 2 of its paper", async () => {
    const [b1, b2, rate, decay] = [0.9, 0.99, 0.01, 0.2]
    const p = [...start], m = p.map(() => 0)
    for (const g of grads)
      p.forEach((_, i) => {
        p[i]! -= rate * (Math.sign(b1 * m[i]! + (1 - b1) * g[i]!) + decay * p[i]!)
        m[i] = b2 * m[i]! + (1 - b2) * g[i]!
      })
    close(await follow(lion({ rate, weightDecay: decay })), p, 1e-12)
  })

  const rms = (x: readonly number[]): number => Math.sqrt(x.reduce((s, v) => s + v * v, 0) / x.length)
  test("adafactor is algorithm 4 of its paper for a matrix", async () => {
    const [n, m] = shape, [e1, e2, rate] = [1e-30, 1e-3, 0.2]
    const x = [...start], R = new Array<number>(n).fill(0), C = new Array<number>(m).fill(0)
    grads.forEach((g, k) => {
      const t = k + 1, beta = 1 - t ** -0.8, alpha = Math.max(e2, rms(x)) * Math.min(rate, 1 / Math.sqrt(t))
      for (let i = 0; i < n; i++) R[i] = beta * R[i]! + (1 - beta) * Array.from({ length: m }, (_, j) => g[i * m + j]! ** 2 + e1).reduce((a, b) => a + b)
      for (let j = 0; j < m; j++) C[j] = beta * C[j]! + (1 - beta) * Array.from({ length: n }, (_, i) => g[i * m + j]! ** 2 + e1).reduce((a, b) => a + b)
      const u = g.map((v, at) => v / Math.sqrt((R[Math.floor(at / m)]! * C[at % m]!) / R.reduce((a, b) => a + b)))
      const clip = Math.max(1, rms(u))
      u.forEach((v, at) => (x[at]! -= (alpha * v) / clip))
    })
    close(await follow(adafactor({ rate })), x, 1e-12)
  })
  test("adafactor is algorithm 5 for a vector, and absolute rates and decay are plain factors", async () => {
    const [rate, decay] = [0.01, 0.1]
    const x = start.slice(0, 5), v = x.map(() => 0)
    grads.forEach((g, k) => {
      const beta = 1 - (k + 1) ** -0.8
      const u = x.map((_, i) => g[i]! / Math.sqrt((v[i] = beta * v[i]! + (1 - beta) * (g[i]! ** 2 + 1e-30))))
      const clip = Math.max(1, rms(u) / 0.5)
      u.forEach((d, i) => (x[i] = x[i]! * (1 - rate * decay) - (rate * d) / clip))
    })
    close(await follow(adafactor({ rate, scale: "absolute", clip: 0.5, weightDecay: decay }), start.slice(0, 5), [5]), x, 1e-12)
  })
  test("adafactor keeps n + m numbers of a matrix", () => {
    const state = adafactor().init({ w: randn([30, 40], { seed: 0 }), b: randn([7], { seed: 0 }) })
    expect(tensorsOf(state).map((t) => t.size).sort((a, b) => a - b)).toEqual([1, 7, 30, 40])
  })
})

const x = randn([32, 4], { seed: 3 }), y = sum(mul(x, tensor([1, -2, 0.5, 0])), { axis: 1, keepDims: true })
await realize(x, y)

describe("training", () => {
  const model = () => ({ layers: [{ w: randn([4, 8], { seed: 1 }), b: tensor(new Float32Array(8)) }, { w: randn([8, 1], { seed: 2 }), b: tensor([0]) }], ids: tensor([1, 2], { dtype: "i32" }) })
  type Model = ReturnType<typeof model>
  const loss = ({ layers: [a, b] }: Model, x: Tensor, y: Tensor): Tensor => mean(square(sub(add(matmul(tanh(add(matmul(x, a!.w), a!.b)), b!.w), b!.b), y)))
  const stepOf = (rule: Optimizer<{ step: Tensor }>) => (p: Model, state: { step: Tensor }, rate: Rate) => {
    const { value, grads } = valueAndGrad(loss)(p, x, y)
    return { value, ...rule.update(p, clipGradNorm(grads, 5).grads, state, rate) }
  }

  test.each(Object.keys(every))("%s: a compiled step is the uncompiled one, and lowers the loss", async (name) => {
    const rule = every[name]!, plain = stepOf(rule)
    const step = compile<[Model, { step: Tensor }, number], ReturnType<typeof plain>>((p, s, r) => plain(p, s, r))
    let p = model(), q = model(), s = rule.init(p), t = rule.init(q)
    const rate = schedule.linear({ from: { sgd: 0.1, lion: 0.01, adadelta: 3 }[name] ?? 0.02, steps: 40 })
    const losses: number[] = []
    for (let i = 0; i < 12; i++) {
      const a = await step(p, s, rate(i))
      p = a.parameters
      s = a.state
      losses.push(await a.value.item())
      if (i >= 3) continue
      const b = plain(q, t, rate(i))
      await realize(...tensorsOf(b))
      q = b.parameters
      t = b.state
      for (const [k, leaf] of tensorsOf(b).entries()) close(await values(leaf), await values(tensorsOf(a)[k]!), 1e-6)
    }
    expect(losses.at(-1)!).toBeLessThan(losses[0]! * 0.9)
    expect(step.programs).toBe(1)
    expect(await s.step.item()).toBe(12)
    expect(await values(p.ids)).toEqual([1, 2])
  })

  test("memory does not grow over 50 compiled steps that donate the old state", async () => {
    const rule = adamW({ rate: 0.01 }), plain = stepOf(rule)
    const step = compile<[Model, OptimizerState<"first" | "second" | "largest">, number], ReturnType<typeof plain>>((p, s, r) => plain(p, s, r), { donate: [0, 1] })
    let p: Model = model(), s = rule.init(p)
    let settled = 0
    for (let i = 0; i < 50; i++) {
      const next = await step(p, s, 0.01 / (i + 1))
      next.value.dispose()
      p = next.parameters
      s = next.state as typeof s
      if (i === 1) settled = memory().bytes
      else if (i > 1) expect(memory().bytes).toBeLessThanOrEqual(settled)
    }
    expect(step.programs).toBe(1)
  })
})

describe("the shape of an update", () => {
  const p = { w: tensor([[1, 2], [3, 4]]), b: tensor([1, 2]) }
  const g = { w: tensor([[0.1, 0.2], [0.3, 0.4]]), b: tensor([1, -1]) }

  test("elementwise work of a parameter is one kernel per moment and one for the parameter", () => {
    const kernels = (rule: Optimizer<{ step: Tensor }>, clip: boolean): number =>
      explain(...tensorsOf(rule.update({ w: p.w }, clip ? clipGradNorm({ w: g.w }, 1).grads : { w: g.w }, rule.init({ w: p.w })))).split("\n").filter((l) => l.includes("map [2,2]")).length
    expect(Object.fromEntries(Object.keys(every).map((name) => [name, [kernels(every[name]!, false), kernels(every[name]!, true)]]))).toMatchObject({
      sgd: [1, 1], momentum: [2, 2], adam: [4, 4], adamW: [3, 3], lion: [2, 2], rmsprop: [4, 4], adagrad: [2, 2],
    })
  })
  test("a rate given for a step replaces the optimizer's own; as a number or a tensor it is an operand, not code", async () => {
    const rule = sgd({ rate: 100 }), state = rule.init(p)
    for (const rate of [0.5, tensor(0.5), tensor(0.5, { dtype: "f64" })]) close(await values(rule.update(p, g, state, rate).parameters.b), [0.5, 2.5])
    expect(explain(rule.update(p, g, state, 0.5).parameters.b)).toBe(explain(rule.update(p, g, state, 0.25).parameters.b))
  })
  test("half-precision parameters are updated in f32 and keep moments in f32", async () => {
    for (const dtype of ["f16", "bf16"] as const) {
      const rule = adamW({ rate: 0.1 })
      const half = { w: castTo(p.w, dtype) }
      const { parameters, state } = rule.update(half, { w: castTo(g.w, dtype) }, rule.init(half))
      expect(parameters.w.dtype).toBe(dtype)
      expect(state.first.w!.dtype).toBe("f32")
      close(await values(parameters.w), await values(castTo(rule.update({ w: p.w }, { w: castTo(castTo(g.w, dtype), "f32") }, rule.init({ w: p.w })).parameters.w, dtype)), 0)
    }
  })
  test("bias correction keeps its digits in f32: Adam's first step is the rate times the sign", async () => {
    const rule = adam({ rate: 0.001, eps: 0 })
    const { parameters } = rule.update({ w: tensor([0, 0]) }, { w: tensor([3e-4, -7]) }, rule.init({ w: tensor([0, 0]) }))
    const got = await values(parameters.w)
    expect(Math.abs(got[0]! / -0.001 - 1)).toBeLessThan(5e-7)
    expect(Math.abs(got[1]! / 0.001 - 1)).toBeLessThan(5e-7)
  })
  test("weight decay is for the parameters that `decays` picks", async () => {
    const rule = sgd({ rate: 1, weightDecay: 0.5, decays: (path, t) => path === "w" && t.rank > 1 })
    const zero = { w: mul(p.w, 0), b: mul(p.b, 0) }
    const { parameters } = rule.update(p, zero, rule.init(p))
    expect(await values(parameters.w)).toEqual([0.5, 1, 1.5, 2])
    expect(await values(parameters.b)).toEqual([1, 2])
  })
  test("tied weights are one parameter with one state, before and after", async () => {
    const tied = tensor([1, 2]), model = { embed: tied, head: tied }
    const rule = sgd({ rate: 0.1, momentum: 0.9 }), state = rule.init(model)
    expect(Object.keys(state.velocity)).toEqual(["embed"])
    const { grads } = valueAndGrad((m: typeof model) => sum(mul(m.embed, square(m.head))))(model)
    const { parameters } = rule.update(model, grads, state)
    expect(parameters.head).toBe(parameters.embed)
    close(await values(parameters.head), [1 - 0.3, 2 - 1.2])
  })
  test("an update can be differentiated", async () => {
    const w = tensor([1, 2]), rule = adam({ rate: 0.1 })
    const { grads } = valueAndGrad((r: { rate: Tensor }) => sum(rule.update({ w }, { w: tensor([1, 1]) }, rule.init({ w }), r.rate).parameters.w))({ rate: tensor(0.1) })
    close(await values(grads.rate), [-2], 1e-5)
  })
})

test("misuse is refused, naming the value and the remedy", () => {
  const p = { w: tensor([1, 2]) }
  const refused = (fn: () => unknown, message: string): void => {
    expect(fn).toThrow(ThimbleError)
    expect(fn).toThrow(message)
  }
  for (const rate of [NaN, Infinity, -1]) {
    for (const make of [sgd, adam, adamW, lion, adafactor, rmsprop, adagrad, adadelta]) refused(() => make({ rate }), `the rate must be finite and ≥ 0, got ${rate}; check the schedule that it comes from`)
    refused(() => adam({ rate: 1 }).update(p, p, adam({ rate: 1 }).init(p), rate), `adam: the rate must be finite and ≥ 0, got ${rate}`)
  }
  refused(() => sgd({ rate: "1" as unknown as number }), "sgd: the rate must be finite and ≥ 0, got 1")
  refused(() => adam({ rate: 1, betas: [0.9, 1] }), "adam: betas[1] must be in 0 ≤ betas[1] < 1, got 1; typical values are 0.9 … 0.999")
  refused(() => adamW({ rate: 1, betas: [-0.1, 0.9] }), "adamW: betas[0]")
  refused(() => lion({ rate: 1, betas: [NaN, 0.9] }), "lion: betas[0]")
  refused(() => adam({ rate: 1, eps: -1 }), "adam: eps must be finite and ≥ 0, got -1")
  refused(() => sgd({ rate: 1, weightDecay: NaN }), "sgd: weightDecay must be finite and ≥ 0, got NaN")
  refused(() => sgd({ rate: 1, momentum: 1.5 }), "sgd: momentum must be in 0 ≤ momentum < 1, got 1.5")
  refused(() => sgd({ rate: 1, nesterov: true }), "sgd: nesterov needs momentum > 0 and no dampening, got 0 and 0")
  refused(() => sgd({ rate: 1, momentum: 0.5, dampening: 2 }), "sgd: dampening must be in 0 … 1, got 2")
  refused(() => adafactor({ clip: 0 }), "adafactor: clip must be > 0, got 0")
  refused(() => adafactor({ decayPower: 2 }), "adafactor: decayPower must be in 0 < c ≤ 1, got 2")
  refused(() => rmsprop({ rate: 1, alpha: 1 }), "rmsprop: alpha")
  const rule = adam({ rate: 0.1 }), state = rule.init(p)
  refused(() => rule.update(p, {} as typeof p, state), "adam: no gradient for w; partition() the parameters to leave some frozen")
  refused(() => rule.update(p, { w: tensor([1]) }, state), "adam: gradients do not fit: w f32[1] instead of f32[2]")
  refused(() => rule.update({ v: p.w }, { v: p.w }, state), "adam: the state has no 'first' of v; init() it with the parameters that are updated")
  refused(() => rule.update({ w: tensor([1]) }, { w: tensor([1]) }, state), "adam: 'first' of w is [2], expected [1]")
  refused(() => rule.update(p, p, state, tensor([0.1])), "adam: the rate must be a number or a 0-d tensor, got f32[1]")
})
