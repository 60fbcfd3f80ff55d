export { gptq, type GptqOptions, type GptqResult } from "./gptq.ts"
export { fitGrid, type Grid, type GridOptions } from "./grid.ts"
export { hessian, type Hessian } from "./hessian.ts"
export type { Fallback } from "./damping.ts"
