import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import type { Verdict } from "./check/check.ts"
import { out } from "./build.ts"

/** What became of the check in a process of its own. */
export interface Run extends Verdict {
  /** Milliseconds from the verdict, when threads still sleep, to the end of the process. */
  readonly lingered: number
  /** What it printed besides. */
  readonly noise: string
}

/** Runs the check by a command; rejects if there is no verdict or the process fails. */
export function runCheck([command, ...args]: readonly [string, ...string[]], env: Readonly<Record<string, string>> = {}): Promise<Run> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: out, env: { ...process.env, NODE_OPTIONS: "", ...env }, stdio: ["ignore", "pipe", "pipe"], timeout: 50_000 })
    let verdict: Verdict | undefined, at = 0, noise = ""
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (!line.startsWith('{"threads"')) return void (noise += `${line}\n`)
      verdict = JSON.parse(line) as Verdict
      at = performance.now()
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => (noise += text))
    child.on("error", reject)
    child.on("close", (code, signal) => {
      if (code === 0 && verdict) resolve({ ...verdict, lingered: performance.now() - at, noise })
      else reject(new Error(`${command} ended with ${signal ?? code}, ${verdict ? "after" : "without"} a verdict: ${noise.slice(0, 2000)}`))
    })
  })
}
