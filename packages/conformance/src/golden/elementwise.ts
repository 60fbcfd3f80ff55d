import { add, div, mul, sub } from "@thimble/core"
import type { Row } from "./case.ts"

export const elementwise = {
  add: ({ a, b }) => add(a, b),
  sub: ({ a, b }) => sub(a, b),
  mul: ({ a, b }) => mul(a, b),
  div: ({ a, b }) => div(a, b),
} satisfies Record<string, Row>
