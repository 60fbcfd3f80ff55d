import { afterAll, describe, expect, test } from "vitest"
import { add, compile, currentDevice, mul, realize, referenceDevice, sum, tensor, useDevice, withDevice, zeros, type Device, type Tensor } from "@thimble/core"
import { devices, open } from "../src/index.ts"
import { webgpuDevice, type WebgpuDevice } from "../src/webgpu/device.ts"

const outer = currentDevice(), reference = referenceDevice()
const found = (await devices()).find((d) => d.name === "webgpu")!
/** Unattended runs must have a driver. */
const here = found.available || process.env.CI !== undefined
if (!here && !found.available) test.skip(`webgpu: ${found.reason}`, () => {})

const closed = (op: string) => ({ code: "device", message: `${op}: the webgpu device was closed, and its tensors with it; open it again` })
const lost = (what = "map f32\\[3\\]") => ({ code: "device", message: expect.stringMatching(new RegExp(`^webgpu: the device was lost \\(.+\\) while running ${what}; open it again; its tensors are gone$`)) as unknown })
/** As the system takes a device away: nobody here is asked. */
const lose = async (d: WebgpuDevice): Promise<void> => {
  d.gpu.destroy()
  await d.gpu.lost
}
/** A device that is taken away, a tensor that was stored on it, and one that was computed. */
async function gone(leave: (d: WebgpuDevice) => unknown): Promise<{ device: WebgpuDevice; x: Tensor; y: Tensor; twice: (x: Tensor) => Promise<Tensor> }> {
  const device = await webgpuDevice()
  const x = withDevice(device, () => tensor([1, 2, 3])), y = mul(x, 2), twice = compile((x: Tensor) => mul(x, 2))
  await realize(y)
  await twice(x)
  await leave(device)
  return { device, x, y, twice }
}

describe.runIf(here)("a webgpu device that is gone", () => {
  afterAll(() => void useDevice(outer))

  const ways: readonly [string, (d: WebgpuDevice) => Promise<void>, (op: string) => object][] = [["closed", (d) => d.close(), closed], ["lost", lose, () => lost()]]
  test.each(ways)("%s: says so when its tensors are read, used, moved or made; nothing is counted as held", async (_way, leave, why) => {
    const { device, x, y, twice } = await gone(leave)
    await expect(y.data()).rejects.toMatchObject(why("read"))
    await expect(y.to(reference)).rejects.toMatchObject(why("read"))
    await expect(add(x, 1).data()).rejects.toMatchObject(why("prepare"))
    await expect(twice(x)).rejects.toMatchObject({ code: "device" })
    expect(() => withDevice(device, () => tensor([1]))).toThrow(expect.objectContaining(why("alloc")))
    await expect(tensor([1], { device: reference }).to(device)).rejects.toMatchObject(why("alloc"))
    expect(device.used!()).toBe(0)
    for (const t of [x, y]) t.dispose()
    await Promise.all([device.close(), device.close()])
  })
  test("lost while something runs: whoever reads is told what ran", async () => {
    const device = await webgpuDevice()
    const reads = withDevice(device, () => {
      let x: Tensor = tensor(new Float32Array(1 << 16).fill(0.5), { shape: [256, 256] })
      return Array.from({ length: 5 }, () => sum(x = x.matmul(x).tanh()).data())
    })
    await Promise.race(reads)
    const late = withDevice(device, () => [1, 2, 3].map((k) => mul(zeros([1000]), k).data()))
    device.gpu.destroy()
    for (const r of await Promise.allSettled([...reads, ...late])) if (r.status === "rejected") expect(r.reason).toMatchObject(lost(".+"))
    for (const r of await Promise.allSettled(late)) expect(r.status).toBe("rejected")
    await device.close()
  })
  test("lost while its kernels are compiled: the device is named, not the kernel", async () => {
    const device = await webgpuDevice()
    const reading = withDevice(device, () => mul(tensor([1, 2, 3]), 2).exp().data())
    device.gpu.destroy()
    await expect(reading).rejects.toMatchObject(lost("nothing"))
    await device.close()
  })
  test("closed while something is read, and while something is compiled: both are refused", async () => {
    const device = await webgpuDevice()
    const x = withDevice(device, () => tensor([1, 2, 3])), reads = [x.data(), add(x, 1).data(), mul(x, 3).data()]
    const closing = device.close()
    for (const r of await Promise.allSettled(reads)) expect(r).toMatchObject({ status: "rejected", reason: { code: "device", message: expect.stringContaining("was closed") as unknown } })
    await closing
    expect(device.used!()).toBe(0)
  })
  test("two can be open: what happens to one is nothing to the other", async () => {
    const [one, two] = [await open("webgpu"), await open("webgpu")]
    const [x, y] = [one, two].map((d) => withDevice(d, () => tensor([1, 2, 3]))) as [Tensor, Tensor]
    expect([await mul(x, 2).tolist(), await mul(await x.to(two), y).tolist()]).toEqual([[2, 4, 6], [1, 4, 9]])
    expect(() => mul(x, y)).toThrow(expect.objectContaining({ code: "device" }))
    await one.close()
    expect(await mul(y, 3).tolist()).toEqual([3, 6, 9])
    await two.close()
  })
  test("a device that is lost takes no other with it, and another can be opened", async () => {
    const { device } = await gone(lose)
    const next: Device = await webgpuDevice()
    expect(await withDevice(next, () => mul(tensor([1, 2, 3]), 2).tolist())).toEqual([2, 4, 6])
    await device.close()
    await next.close()
  })
})
