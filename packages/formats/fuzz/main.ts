// Reads changed files until the time is up: node fuzz/main.ts --minutes 10 [--target gguf] [--seed 1]
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { tmpdir } from "node:os"
import { parseArgs } from "node:util"
import fc from "fast-check"
import { meet, targets } from "./targets.ts"

const { values } = parseArgs({ options: { minutes: { type: "string", default: "1" }, target: { type: "string" }, seed: { type: "string" } } })
const end = performance.now() + Number(values.minutes) * 60_000
const names = values.target === undefined ? Object.keys(targets) : [values.target]
const unknown = names.find((n) => !(n in targets))
if (unknown !== undefined || !(end > performance.now())) {
  console.error(unknown !== undefined ? `no target ${unknown}: ${Object.keys(targets).join(", ")}` : `--minutes ${values.minutes} is no time`)
  process.exit(2)
}
const counts = Object.fromEntries(names.map((n) => [n, { read: 0, refused: 0, slowest: 0 }]))
let seed = values.seed === undefined ? Date.now() & 0x7fffffff : Number(values.seed)
console.log(`fuzzing ${names.join(", ")} for ${values.minutes} min from seed ${seed}`)

for (; performance.now() < end; seed++)
  for (const name of names) {
    const target = targets[name]!, count = counts[name]!
    let last: Uint8Array | undefined
    const result = await fc.check(fc.asyncProperty(target.files, async (make) => {
      last = await make()
      const start = performance.now()
      count[await meet(target, last)]++
      count.slowest = Math.max(count.slowest, performance.now() - start)
    }), { seed, numRuns: 500 })
    if (!result.failed) continue
    const path = join(tmpdir(), `fuzz-${name}-${seed}.bin`)
    writeFileSync(path, last!)
    console.error(`${name}, seed ${seed}, path ${result.counterexamplePath}: ${String(result.errorInstance)}\n${result.errorInstance instanceof Error ? result.errorInstance.stack : ""}\nthe file: ${path}`)
    process.exit(1)
  }
for (const [name, { read, refused, slowest }] of Object.entries(counts)) console.log(`${name.padEnd(12)} ${read} read, ${refused} refused, the slowest in ${slowest.toFixed(1)} ms`)
