import { execFile } from "node:child_process"
import { promisify } from "node:util"
import { describe, expect, test } from "vitest"

const run = promisify(execFile)

/** What stands in for the npm package `webgpu`; null: it is not installed. */
const packages: Readonly<Record<string, readonly [module: string | null, says: string]>> = {
  "not installed": [null, "open: the optional package 'webgpu' is not installed; npm install webgpu@0.6.2"],
  "without a binary that loads": [
    "throw new Error(\"libstdc++.so.6: version `GLIBCXX_3.4.32' not found\\nRequire stack:\")",
    "open: the package 'webgpu' cannot be loaded (libstdc++.so.6: version `GLIBCXX_3.4.32' not found); it has binaries for Linux (x64, arm64), macOS and Windows, and needs their usual C++ runtime; webgpu@0.6.2 asks for the least of it",
  ],
  "another one of that name": ["export const version = 1", "open: the package 'webgpu' has no function create; npm install webgpu@0.6.2"],
  "one that does not start": ["export const create = () => { throw new Error('no such toggle') }", "open: the package 'webgpu' does not start (no such toggle); npm install webgpu@0.6.2"],
  "no adapter": [
    "export const create = () => ({ requestAdapter: async () => null })",
    "open: WebGPU found no adapter; Linux needs a Vulkan driver and libvulkan.so.1 (apt-get install libvulkan1); VK_DRIVER_FILES names a driver's file",
  ],
  "an adapter that fails": ["export const create = () => ({ requestAdapter: async () => { throw new Error('driver') } })", "open: WebGPU gives no adapter (driver); open('wasm') computes on the CPU"],
}

/** What the devices say in a process of its own, where `import("webgpu")` gives this. */
async function said(module: string | null): Promise<{ listed: string; refused: readonly string[]; best: string; current: string }> {
  const hook = `import { registerHooks } from "node:module"
registerHooks({ resolve(name, context, next) {
  if (name !== "webgpu") return next(name, context)
  if (${module === null}) throw Object.assign(new Error("Cannot find package 'webgpu'"), { code: "ERR_MODULE_NOT_FOUND" })
  return { url: "data:text/javascript," + ${JSON.stringify(encodeURIComponent(module ?? ""))}, shortCircuit: true }
} })`
  const body = `import { best, devices, open } from "@thimble/kernels"; import { currentDevice } from "@thimble/core"
const before = currentDevice()
const refused = await Promise.all([{}, { powerPreference: "low-power" }].map((o) => open("webgpu", o).then(() => "opened", (e) => e.name + " " + e.code + " " + e.message)))
const current = before === currentDevice() ? "as it was" : "another"
const listed = (await devices()).find((d) => d.name === "webgpu").reason, chosen = await best({ threads: 1 })
console.log(JSON.stringify({ listed, refused, best: chosen.name, current }))
await chosen.close()`
  const { stdout } = await run(process.execPath, ["--import", `data:text/javascript,${encodeURIComponent(hook)}`, "--input-type=module", "-e", body], { cwd: new URL("../../conformance", import.meta.url), timeout: 25_000 })
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as Awaited<ReturnType<typeof said>>
}

describe("where WebGPU cannot be opened, the reason and the remedy are told, and the current device stays", () => {
  test.each(Object.entries(packages))("%s", async (_name, [module, says]) => {
    expect(await said(module)).toEqual({ listed: says, refused: [`ThimbleError device ${says}`, `ThimbleError device ${says}`], best: "wasm", current: "as it was" })
  })
})
