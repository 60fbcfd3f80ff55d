export { solveSparsegpt, solveSparsegptOnDevice, type SparsegptOptions, type SparsegptResult } from "./sparsegpt.ts"
export { wandaScores } from "./wanda.ts"
export { keptByRow, type KeepOf, type Sparsity } from "./sparsity.ts"
export { sparse } from "./sparse.ts"
