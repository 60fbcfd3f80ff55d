/**
 * A printed program without its index arithmetic: per step the kernel's kind and sizes, the types it touches, and in
 * braces which scalar operations each part of it does. What is fused with what can be read off it.
 */
export function outline(printed: string): string {
  const part = (text: string): string => {
    const names = [...text.matchAll(/\b([a-z]+)(?:\.\w+)?\(/g)].map((m) => m[1]!)
    // Coordinates are divided and multiplied inside of brackets; loads nest no deeper than their own.
    const outside = [...text.replaceAll(/\[[^[\]]*\]/g, "").matchAll(/\b([a-z]+)(?:\.\w+)?\(/g)].map((m) => m[1]!)
    const loads = [...text.matchAll(/\b(p\d+)\[/g)].map((m) => m[1]!)
    return [...new Set([...loads, ...(text.includes("%") ? names : outside).filter((n) => n !== "store")])].join(" ") || text.trim()
  }
  return printed.split("\n").map((line) => line
    .replaceAll(/\{ (.*?) \}/g, (_, body: string) => `{${body.split(" | ").map((p) => {
      const named = /^(\w+)(\[[\d,]*\]): (.*)$/.exec(p)
      return named === null ? part(p) : `${named[1]}${named[2]}: ${part(named[3]!)}`
    }).join(" | ")}}`)).join("\n")
}
