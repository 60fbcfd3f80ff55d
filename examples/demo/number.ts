/** A whole number given on the command line; ends the program if it is none. */
export function number(name: string, text: string | undefined, least: number): number | undefined {
  if (text === undefined) return undefined
  const n = Number(text)
  if (text.trim() !== "" && Number.isInteger(n) && n >= least) return n
  console.error(`--${name} must be a whole number from ${least}, got '${text}'`)
  process.exit(2)
}
