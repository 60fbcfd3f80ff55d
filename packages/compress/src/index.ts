/**
 * Compression of models: quantization, pruning, calibration and recipes, built on the tensors of `@thimble/core`.
 * The package has its place in the workspace and exports nothing yet.
 *
 * @module
 */
export {}
