/**
 * Distillation: training a small model from the answers of a large one, built on the tensors of `@thimble/core`.
 * The package has its place in the workspace and exports nothing yet.
 *
 * @module
 */
export {}
