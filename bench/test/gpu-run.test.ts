import { expect, test } from "vitest"
import { currentDevice, referenceDevice, useDevice } from "@thimble/core"
import type { GpuDevice, Part } from "../gpu/part.ts"
import { runParts } from "../gpu/run.ts"

/** A device that can be lost, and which of all that were opened it is. */
function fakes(): { open(): Promise<GpuDevice>; opened: GpuDevice[]; lose(): void } {
  const opened: GpuDevice[] = []
  let lose = (): void => {}
  return {
    opened, lose: () => lose(),
    open() {
      const { promise: lost, resolve } = Promise.withResolvers<unknown>()
      lose = () => resolve(undefined)
      const device = { ...referenceDevice(), adapter: "none", features: {}, gpu: { lost } as unknown as GPUDevice, settled: () => Promise.resolve() } as GpuDevice
      opened.push(device)
      return Promise.resolve(useDevice(device) as GpuDevice)
    },
  }
}

test("what goes wrong in a part costs its rows only: the next has its device, even if that was lost or another was left current", async () => {
  const { open, opened, lose } = fakes(), outer = currentDevice(), seen: string[] = [], lines: string[] = []
  const part = (name: string, run: Part["run"]): Part => ({ name, seconds: 20, async run(context) { await run(context) } })
  const looking = (name: string): Part => part(name, ({ device }) => {
    seen.push(`${name}: device ${opened.indexOf(device)} of ${opened.length}, ${currentDevice() === device ? "current" : "not current"}`)
    return Promise.resolve()
  })
  await runParts([
    { name: "throws at once", seconds: 20, run() { throw new Error("at once") } }, looking("a"),
    part("leaves another device", () => { useDevice(referenceDevice()); return Promise.reject(new Error("later")) }), looking("b"),
    part("loses it", async () => { lose(); await Promise.resolve(); throw new Error("lost") }), looking("c"),
    part("has no time", () => Promise.resolve()),
  ].map((p) => (p.name === "has no time" ? { ...p, seconds: 1 } : p)), { open, seconds: 100, tiny: true, print: (line) => lines.push(line) })
  useDevice(outer)
  expect(seen).toEqual(["a: device 0 of 1, current", "b: device 0 of 1, current", "c: device 1 of 2, current"])
  const failures = lines.filter((l) => l.includes("failed") || l.includes("left out")).map((l) => l.replace(/^\[.*?\] /, ""))
  expect(failures).toEqual([
    "failed: part throws at once · error at once", "failed: part leaves another device · error later", "failed: part loses it · error lost", "left out: why no time is left",
  ])
})
