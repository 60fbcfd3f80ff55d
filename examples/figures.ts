// Numbers as pages show them.

export const mean = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0) / x.length
/** Standard deviation of a sample; of a single value there is none. */
export const deviation = (x: readonly number[]): number => Math.sqrt(x.reduce((n, v) => n + (v - mean(x)) ** 2, 0) / (x.length - 1))
/** Standard error of the mean; 0 of a single value. */
export const standardError = (x: readonly number[]): number => (x.length < 2 ? 0 : deviation(x) / Math.sqrt(x.length))
/** A mean, with its standard error where there is one. */
export const meanText = (x: readonly number[], digits: number): string => `${mean(x).toFixed(digits)}${x.length > 1 ? ` ± ${standardError(x).toFixed(digits)}` : ""}`
export const whole = (x: number): string => Math.round(x).toLocaleString("en")
/** Three digits that count. */
export const small = (x: number): string => (x === 0 ? "0" : x >= 0.001 ? x.toPrecision(3) : x.toExponential(1))
