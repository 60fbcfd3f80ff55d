import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { add, castTo, compile, currentDevice, memory, mul, randn, realize, referenceDevice, sum, tensor, ThimbleError, useDevice, withDevice, zeros, type Tensor } from "@thimble/core"
import { best, devices, open } from "../src/index.ts"
import { webgpuDevice, type WebgpuDevice } from "../src/webgpu/device.ts"

const outer = currentDevice(), reference = referenceDevice()
const found = (await devices()).find((d) => d.name === "webgpu")!
/** Unattended runs must have a driver. */
const here = found.available || process.env.CI !== undefined
if (!here && !found.available) test.skip(`webgpu: ${found.reason}`, () => {})

describe("what there is", () => {
  afterEach(() => void useDevice(outer))
  test("devices() names every kind, and says why one is missing", async () => {
    const all = await devices()
    expect(all.map((d) => d.name)).toEqual(["webgpu", "wasm", "gpujs", "reference"])
    for (const d of all) expect(d.available ? d.on : d.reason).not.toBe("")
    expect(all.filter((d) => d.available).map((d) => d.name)).toEqual(expect.arrayContaining(["wasm", "reference"]))
  })
  test("best() opens the CPU where a GPU's driver computes on the CPU as well", async () => {
    const device = await best({ threads: 1 })
    const wanted = found.available && found.accelerated ? "webgpu" : "wasm"
    expect([device.name, currentDevice()]).toEqual([wanted, device])
    await device.close()
  })
  test("best() with the name of an adapter that is not there opens the CPU", async () => {
    const device = await best({ threads: 1, adapter: "no such adapter" })
    expect(device.name).toBe("wasm")
    await device.close()
  })
  test("an adapter that is not there is refused, with what to do, and nothing else is opened", async () => {
    await expect(open("webgpu", { adapter: "no such adapter" })).rejects.toMatchObject({ name: "ThimbleError", code: "device", message: expect.stringContaining("WebGPU found no adapter with 'no such adapter' in its name; ") })
    expect(currentDevice()).toBe(outer)
  })
})

describe.runIf(here)("the webgpu device", () => {
  let device: WebgpuDevice
  beforeAll(async () => void useDevice((device = await webgpuDevice())))
  afterAll(async () => {
    useDevice(outer)
    await device.close()
  })
  const wave = (n: number, phase = 0): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(i + phase))
  /** The same on the reference device. */
  const agree = async (make: () => Tensor, tolerance = 0): Promise<void> => {
    const got = Array.from(await make().data()), want = await withDevice(reference, () => make().data())
    expect(got.length).toBe(want.length)
    const worst = got.reduce((m, v, i) => Math.max(m, Math.abs(v - want[i]!)), 0)
    expect(worst).toBeLessThanOrEqual(tolerance)
  }

  test("is opened by any part of the name that its adapter tells", async () => {
    for (const adapter of [device.adapter, ...device.adapter.split(" "), device.adapter.split(" ").at(1)!.toUpperCase()]) {
      const same = await open("webgpu", { adapter, powerPreference: "low-power" })
      expect(same.adapter).toBe(device.adapter)
      useDevice(device)
      await same.close()
    }
  })
  test("a kernel may read more tensors than there are bindings", () => {
    const { bindings } = device.features
    return agree(() => {
      const parts = Array.from({ length: bindings + 5 }, (_, k) => tensor(wave(1000, k)))
      return parts.slice(1).reduce((a, b) => add(mul(a, 0.5), b), parts[0]!)
    })
  })
  test("a kernel may have more workgroups than one dimension of a grid", async () => {
    const n = 65535 * 128 * 4 + 4099
    const x = castTo(tensor(new Uint8Array(n).map((_, i) => i)), "i8"), y = await x.raw()
    expect([0, 127, 128, n - 1].map((i) => y[i])).toEqual([0, 127, -128, ((n - 1) << 24) >> 24])
  })
  test.each(["i8", "u8", "i16", "f16", "bf16", "bool"] as const)("results of %s next to each other do not disturb each other, whatever their number", async (dtype) => {
    for (const n of [1, 2, 3, 5, 31, 333]) {
      await agree(() => castTo(mul(tensor(wave(n)), 100), dtype))
      await agree(() => sum(castTo(mul(tensor(wave(3 * n, 7)), 10), dtype === "bool" ? "i8" : dtype).reshape([n, 3]), { axis: 1 }))
    }
  })
  test.each([[1, 100_003], [3, 50_000], [100_003, 1], [20_000, 70], [1, 4_000_000]])("sums of %i rows of %i", (rows, columns) =>
    agree(() => sum(tensor(wave(rows * columns), { shape: [rows, columns] }), { axis: 1 }), 2e-7 * columns))
  test.each([[100_003, 3], [70, 20_000]])("sums of columns of [%i, %i]", (rows, columns) =>
    agree(() => sum(tensor(wave(rows * columns), { shape: [rows, columns] }), { axis: 0 }), 2e-7 * rows))
  test("tensors move to it and back", async () => {
    const x = tensor(wave(5), { device: reference }), y = await x.to(device)
    expect([...await (await mul(y, 2).to(reference)).data()]).toEqual([...wave(5)].map((v) => Math.fround(2 * v)))
  })
  test("f64 is refused, with what to do; it can still be stored", async () => {
    const x = tensor([1.5], { dtype: "f64" })
    expect(await x.tolist()).toEqual([1.5])
    await expect(mul(x, 2).data()).rejects.toThrow("webgpu: has no f64; cast to f32, or compute on the wasm device")
  })

  /** A device of another name: what the collector takes back from other tests is not counted. */
  async function apart(name: string, act: (own: WebgpuDevice, held: () => unknown) => Promise<void>): Promise<void> {
    const own = { ...(await webgpuDevice()), name }
    useDevice(own)
    try {
      await act(own, () => memory().devices[name])
    } finally {
      useDevice(device)
      await own.close()
    }
  }
  test("a compiled step, run again, makes no buffers, pipelines or bind groups, and holds no more memory", () => apart("stepping", async (own, held) => {
    const step = compile((w: Tensor, x: Tensor, rate: number | Tensor) => {
      const y = x.matmul(w).tanh()
      return add(w, mul(x.T.matmul(y), rate))
    })
    const x = randn([8, 32], { seed: 2 })
    let w = randn([32, 32], { seed: 1 })
    await realize(w, x)
    const run = async (rate: number): Promise<void> => {
      const next = await step(w, x, rate)
      w.dispose()
      w = next
    }
    for (let i = 0; i < 6; i++) await run(0.01 * i)
    await w.data()
    const before = { ...own.counts(), held: held() }
    for (let i = 0; i < 20; i++) await run(0.01 + 0.001 * i)
    await w.data()
    expect({ ...own.counts(), held: held() }).toEqual(before)
    step.dispose()
    w.dispose()
    x.dispose()
  }))
  test("memory that there is not: an error of the read that names the size; the device goes on", ({ skip }) => apart("filled", async (own, held) => {
    const { bindings, bindingBytes } = own.features
    skip(own.limits.bufferBytes > bindingBytes * (bindings - 1), `kernels of ${own.adapter} do not see the largest buffer, and it has more memory than a test may fill`)
    const x = tensor(wave(3))
    await realize(x)
    const bytes = own.limits.bufferBytes, before = held()
    const large: Tensor[] = []
    let refused: unknown
    for (let i = 0; i < 64 && refused === undefined; i++) {
      const t = zeros([bytes / 4]), total = t.sum()
      large.push(t, total)
      await realize(t).then(() => total.data()).catch((e: unknown) => (refused = e))
    }
    expect(refused).toBeInstanceOf(ThimbleError)
    expect(refused).toMatchObject({ code: "memory", message: expect.stringMatching(/the adapter (has no \d+ bytes left|ran out of memory)/) })
    for (const t of large) t.dispose()
    expect(held()).toEqual(before)
    expect([...await mul(x, 2).data()]).toEqual([...wave(3)].map((v) => Math.fround(2 * v)))
  }))
  test("many kernels go in few submissions of one pass each, pipelines are made asynchronously, and nothing comes back until it is asked for", async () => {
    const own = await webgpuDevice(), { gpu } = own, counts = { submissions: 0, passes: 0, dispatches: 0, blocking: 0, made: 0, staging: 0 }
    const w = withDevice(own, () => tensor(wave(64), { shape: [8, 8] })), step = compile((x: Tensor) => Array.from({ length: 40 }).reduce<Tensor>((y) => y.matmul(w).tanh(), x))
    const original = { encoder: gpu.createCommandEncoder.bind(gpu), blocking: gpu.createComputePipeline.bind(gpu), made: gpu.createComputePipelineAsync.bind(gpu), buffer: gpu.createBuffer.bind(gpu), submit: gpu.queue.submit.bind(gpu.queue) }
    gpu.createComputePipeline = (d) => (counts.blocking++, original.blocking(d))
    gpu.createComputePipelineAsync = (d) => (counts.made++, original.made(d))
    gpu.createBuffer = (d) => ((d.usage & 1) !== 0 && counts.staging++, original.buffer(d))
    gpu.queue.submit = (list) => (counts.submissions++, original.submit(list))
    gpu.createCommandEncoder = (d) => {
      const encoder = original.encoder(d), begin = encoder.beginComputePass.bind(encoder)
      encoder.beginComputePass = (d) => {
        const pass = begin(d), dispatch = pass.dispatchWorkgroups.bind(pass)
        counts.passes++
        pass.dispatchWorkgroups = (x, y, z) => (counts.dispatches++, dispatch(x, y, z))
        return pass
      }
      return encoder
    }
    const y = await step(w)
    // The first eight kernels, twice as many, the rest; those in the middle are one pipeline.
    expect(counts).toEqual({ submissions: 3, passes: 3, dispatches: 40, blocking: 0, made: 3, staging: 0 })
    await y.data()
    expect(counts).toMatchObject({ submissions: 4, passes: 3, staging: 1 })
    await own.close()
  })
  test("a kernel that the driver does not compile: an error that names it and the line; equal ones are tried again, others go on", async () => {
    const own = await webgpuDevice(), { gpu } = own, make = gpu.createShaderModule.bind(gpu), x = withDevice(own, () => tensor([1, 2, 3]))
    gpu.createShaderModule = ({ code }) => make({ code: code.replace("fn main(", "fn broken() -> f32 { return 1u; }\nfn main(") })
    const twice = compile((x: Tensor) => mul(x, 2))
    for (const asked of [() => mul(x, 2).data(), () => twice(x), () => realize(mul(x, 2))])
      await expect(asked()).rejects.toMatchObject({ name: "ThimbleError", code: "internal", message: expect.stringMatching(/^webgpu: map f32\[3\] does not compile \(line \d+: .+\); /s) as unknown })
    gpu.createShaderModule = make
    expect([...await mul(x, 2).data(), ...await (await twice(x)).data()]).toEqual([2, 4, 6, 2, 4, 6])
    await own.close()
  })
  test("what the driver complains of on the side is told once, by the next that is asked", async () => {
    const own = await webgpuDevice(), x = withDevice(own, () => tensor([1, 2, 3]))
    await x.data()
    own.gpu.createBuffer({ size: 16, usage: 0xffff })
    await own.gpu.queue.onSubmittedWorkDone()
    await expect(x.data()).rejects.toMatchObject({ name: "ThimbleError", code: "internal", message: expect.stringMatching(/^webgpu: .+ while running nothing$/) as unknown })
    expect(await x.tolist()).toEqual([1, 2, 3])
    await own.close()
  })
  test("after memory ran out, what had been freed and kept is given back, so that trying again helps", async () => {
    const own = await webgpuDevice(), { gpu } = own
    const create = gpu.createBuffer.bind(gpu), pop = gpu.popErrorScope.bind(gpu)
    // An adapter with room for 64 MiB. The scope of an allocation is popped right after it.
    let left = 64 * 2 ** 20, refused = false
    gpu.createBuffer = (descriptor) => {
      if (descriptor.size > left) {
        refused = true
        return create({ ...descriptor, size: 16 })
      }
      left -= descriptor.size
      const buffer = create(descriptor), destroy = buffer.destroy.bind(buffer)
      return Object.assign(buffer, { destroy() { left += descriptor.size; destroy() } })
    }
    gpu.popErrorScope = async () => {
      const fails = refused
      refused = false
      const error = await pop()
      return fails ? ({ message: "no room" } as GPUError) : error
    }
    const start = withDevice(own, () => tensor([0]))
    const megabytes = (n: number): Tensor => add(start.expand([n * 2 ** 18]), 1)
    const first = megabytes(40)
    await realize(first)
    first.dispose()
    const second = megabytes(48)
    await realize(second)
    await expect(second.sum().item()).rejects.toMatchObject({ code: "memory" })
    second.dispose()
    expect(left).toBeGreaterThan(60 * 2 ** 20)
    const third = megabytes(48)
    await realize(third)
    expect(await third.sum().item()).toBe(48 * 2 ** 18)
    await own.close()
  })
  test("too large a tensor is refused when it is made", async () => {
    await expect(zeros([device.limits.bufferBytes / 4 + 1]).data()).rejects.toMatchObject({ code: "memory", message: expect.stringContaining("the webgpu device takes at most") })
  })
})
