import type { Row } from "./case.ts"
import { elementwise } from "./elementwise.ts"

/** Every golden op's spelling, by its name in the record. */
export const rows: Readonly<Record<string, Row>> = { ...elementwise }
