import { addmm, bmm, einsum, linear, matmul, outer, type AddmmOptions } from "@thimble/core"
import type { Row } from "./case.ts"

export const network = {
  matmul: ({ a, b }) => matmul(a!, b!),
  bmm: ({ input, mat2 }) => bmm(input!, mat2!),
  addmm: ({ c, a, b }, options: AddmmOptions) => addmm(c!, a!, b!, options),
  linear: ({ x, w, b }) => linear(x!, w!, b),
  outer: ({ a, b }) => outer(a!, b!),
  einsum: (inputs, { equation }: { equation: string }) => einsum(equation, ...Object.values(inputs)),
} satisfies Record<string, Row>
