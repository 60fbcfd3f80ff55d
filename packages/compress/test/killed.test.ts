import { spawn } from "node:child_process"
import { mkdtemp, readdir, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, expect, test } from "vitest"

const folder = await mkdtemp(join(tmpdir(), "thimble-killed-"))
afterAll(() => rm(folder, { recursive: true }))
const script = fileURLToPath(new URL("killed/job.ts", import.meta.url))

/** Runs the job, kills it so many milliseconds after it has started, and gives what it wrote. */
function run(checkpoint: string, after = Infinity): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", script, checkpoint], { stdio: ["ignore", "pipe", "inherit"] })
    let text = "", timer: NodeJS.Timeout | undefined
    child.stdout.on("data", (piece: Buffer) => {
      text += piece.toString()
      if (timer === undefined && after < Infinity) timer = setTimeout(() => child.kill("SIGKILL"), after)
    })
    child.on("error", reject)
    child.on("exit", (code, signal) => (clearTimeout(timer), code === 0 || signal === "SIGKILL" ? resolve(text) : reject(new Error(`the job ended with ${code} ${signal}: ${text}`))))
  })
}

test("a job that is killed, wherever it is, gives the bytes of one that was not", async () => {
  const checkpoint = join(folder, "ck"), whole = (await run("")).trim().split(" ").at(-1)!
  expect(whole).toMatch(/^[0-9a-f]{64}$/)
  let killed = 0, text = ""
  // Later each time, so that it comes to its end; in steps that hit writing as well as computing.
  for (let after = 20; !text.includes("done"); after += 60) {
    text = await run(checkpoint, after)
    if (!text.includes("done")) killed++
    // Nothing half written lies under a name that is read.
    for (const name of await readdir(checkpoint).catch(() => [])) expect(name).toMatch(/^(job\.json|\d+-[\w.-]+\.safetensors)(\.partial)?$/)
  }
  expect(killed).toBeGreaterThan(2)
  expect(text.trim().split(" ").at(-1)).toBe(whole)
  // Once more: all of it is there.
  const again = (await run(checkpoint)).trim().split(" ")
  expect(Number(again.at(-2))).toBe(22)
  expect(again.at(-1)).toBe(whole)
}, 120_000)
