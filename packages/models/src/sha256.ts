/** SHA-256, in hexadecimal digits, of strings (UTF-8) and bytes, one after the other. */
export async function sha256(...parts: readonly (string | ArrayBufferView)[]): Promise<string> {
  const pieces = parts.map((p) => (typeof p === "string" ? new TextEncoder().encode(p) : new Uint8Array(p.buffer as ArrayBuffer, p.byteOffset, p.byteLength)))
  return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", pieces.length === 1 ? pieces[0]! : joined(pieces))), (b) => b.toString(16).padStart(2, "0")).join("")
}

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(pieces.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of pieces) {
    all.set(p, at)
    at += p.length
  }
  return all
}
