// Times every op of the table at its representative size: node src/commands/bench.ts [device] [op …].
import { realize, scope, useDevice } from "@thimble/core"
import { open } from "@thimble/kernels"
import { outputsOf } from "../measure.ts"
import { rows } from "../table/index.ts"
import { makeAll, specsOf } from "../table/spec.ts"

const [kind = "wasm", ...only] = process.argv.slice(2)
const device = useDevice(await open(kind))
for (const [name, row] of rows) {
  if (only.length > 0 && !only.includes(name)) continue
  await scope(async () => {
    // Operands are made once, outside of what is timed.
    const tensors = new Map(specsOf(row.bench).map((s) => [s, s.make()]))
    await realize(...tensors.values())
    const args = makeAll(row.bench, (s) => tensors.get(s)!)
    const times: number[] = []
    for (let i = 0; i < 6; i++) {
      const start = performance.now()
      await scope(async () => realize(...(await outputsOf(row, args))))
      times.push(performance.now() - start)
    }
    console.log(`${name.padEnd(20)} ${Math.min(...times.slice(1)).toFixed(2).padStart(9)} ms  ${specsOf(row.bench).map((s) => `${s.dtype}[${s.shape}]`).join(" ")}`)
  })
}
await device.close()
