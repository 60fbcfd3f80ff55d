import { referenceDevice, useDevice, type Device } from "@thimble/core"
import { open } from "@thimble/kernels"
import { supportOf } from "../../packages/conformance/src/support.ts"
import { works } from "./works.ts"

/** What a runtime says about itself: plain data, so that it can be printed or posted. */
export interface Verdict {
  /** Threads of the devices that were asked to have 1, 2 and 5, and of one that was asked nothing. */
  readonly threads: readonly number[]
  readonly faults: readonly string[]
  readonly seconds: number
}

/** The share of its largest element by which a result may differ from the reference device's. */
const bound = 1e-5

async function results(device: Device, name: string): Promise<(readonly number[])[]> {
  useDevice(device)
  return Promise.all((await works[name]!()).map(async (t) => Array.from((await t.data()) as Float32Array)))
}
function fault(got: readonly number[], want: readonly number[]): string | undefined {
  const allowed = bound * want.reduce((most, v) => Math.max(most, Math.abs(v)), 0)
  const at = want.findIndex((v, i) => !(Math.abs(got[i]! - v) <= allowed))
  return got.length !== want.length ? `${got.length} elements instead of ${want.length}` : at < 0 ? undefined : `element ${at} is ${got[at]} instead of ${want[at]}`
}

/** Computes on devices of 1, 2 and 5 threads, all open at once, and compares with the reference device. Leaves a device of two threads open. */
export async function check(): Promise<Verdict> {
  const start = performance.now()
  const reference = referenceDevice()
  const devices: (Device & { readonly threads?: number })[] = []
  const faults: string[] = []
  for (const threads of [1, 2, 5, undefined]) devices.push(await open("wasm", threads === undefined ? {} : { threads }))
  for (const name of Object.keys(works)) {
    const want = await results(reference, name)
    let first: (readonly number[])[] | undefined
    for (const device of devices) {
      const where = `${name} on ${device.threads} threads`
      try {
        const got = await results(device, name)
        faults.push(...got.map((g, i) => fault(g, want[i]!)).flatMap((f) => (f === undefined ? [] : [`${where}: ${f}`])))
        // Not even the last bit may depend on the number of threads.
        first ??= got
        if (String(got) !== String(first)) faults.push(`${where}: other bits than on one thread`)
      } catch (error) {
        faults.push(`${where}: ${String(error)}`)
      }
    }
  }
  for (const [op, support] of await supportOf(devices[1]!, reference)) if (typeof support === "object" && "wrong" in support) faults.push(`${op}: ${support.wrong}`)
  const threads = devices.map((d) => d.threads ?? 0)
  for (const device of devices) if (device !== devices[1]) await device.close()
  return { threads, faults, seconds: (performance.now() - start) / 1000 }
}
