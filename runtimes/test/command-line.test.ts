import { availableParallelism } from "node:os"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { runCheck } from "../command-line.ts"

const program = "plain/program.mjs"
// The binaries themselves: a script around them would be what is stopped when one hangs.
const modules = join(import.meta.dirname, "..", "node_modules")
const oldNode = join(modules, "node", "bin", "node"), bun = join(modules, "bun", "bin", "bun.exe")
const deno = [join(modules, "deno", "deno"), "run", "--no-prompt", "--no-lock"] as const, quiet = { DENO_NO_UPDATE_CHECK: "1" }

/** Runtime → its command, and what to set in its environment. */
const shared: readonly [string, readonly [string, ...string[]], Record<string, string>?][] = [
  ["Node, as installed here", [process.execPath, program]],
  ["the oldest Node that the packages promise", [oldNode, program]],
  ["Deno, without any permission", [...deno, program], quiet],
  ["Bun", [bun, program]],
  ["Bun without relaxed SIMD, which Safari lacks", [bun, program], { BUN_JSC_useWasmRelaxedSIMD: "0" }],
]
const alone: typeof shared = [
  ["Node", [process.execPath, "--enable-sharedarraybuffer-per-context", program]],
  ["Deno", [...deno, program, "--without-shared-memory"], quiet],
  ["Bun", [bun, program, "--without-shared-memory"]],
]

describe("with shared memory, every op and as many threads as asked for", () => {
  test.each(shared)("%s", async (_name, command, env) => {
    const { threads, faults, noise, lingered } = await runCheck(command, env)
    expect({ faults, noise }).toEqual({ faults: [], noise: "" })
    expect(threads).toEqual([1, 2, 5, availableParallelism()])
    expect(lingered).toBeLessThan(3000)
  })
})
describe("without SharedArrayBuffer, every op on one thread", () => {
  test.each(alone)("%s", async (_name, command, env) => {
    const { threads, faults, noise } = await runCheck(command, env)
    expect({ faults, noise }).toEqual({ faults: [], noise: "" })
    expect(threads).toEqual([1, 1, 1, 1])
  })
})
test("Deno's WebGPU, which is not Dawn: every op", async ({ skip }) => {
  const { faults, noise } = await runCheck([...deno, "plain/webgpu.mjs"], quiet)
  // Unattended runs must have a driver.
  skip(process.env.CI === undefined && faults[0]?.startsWith("open: ") === true, faults[0])
  expect({ faults, noise }).toEqual({ faults: [], noise: "" })
})
