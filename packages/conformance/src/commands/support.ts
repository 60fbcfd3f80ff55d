// Writes docs/support.md: which op runs on which device.
import { writeFileSync } from "node:fs"
import { table } from "../devices.ts"
import { supportPage } from "../support-page.ts"

writeFileSync(new URL("../../../../docs/support.md", import.meta.url), supportPage(table))
