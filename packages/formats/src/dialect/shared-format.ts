import type { CodedFormat } from "./coded-format.ts"

const made = new Map<string, CodedFormat>()
/** The format of this name, made once: what is computed with equal formats is one program only if they are the same. */
export function sharedFormat(name: string, make: () => CodedFormat): CodedFormat {
  const format = made.get(name) ?? make()
  made.set(name, format)
  return format
}
