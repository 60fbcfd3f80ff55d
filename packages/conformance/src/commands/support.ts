// Writes docs/support.md: which op runs on which device. Fails if an op is wrong somewhere.
import { writeFileSync } from "node:fs"
import { referenceDevice } from "@thimble/core"
import { devices } from "../devices.ts"
import { supportOf, supportPage } from "../support.ts"

const reference = referenceDevice()
const columns = []
for (const entry of devices) {
  const device = await entry.open()
  columns.push({ name: entry.name, support: await supportOf(device, reference, entry) })
  await device.close()
}
writeFileSync(new URL("../../../../docs/support.md", import.meta.url), supportPage(columns))
for (const { name, support } of columns) for (const [op, s] of support) if (typeof s === "object" && "wrong" in s) {
  console.error(`${op} on ${name}: ${s.wrong}`)
  process.exitCode = 1
}
