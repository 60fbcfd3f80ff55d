import { fail } from "@thimble/core"

/** Node's, which Deno and Bun have too. Bundlers must not see its name: most refuse `node:` in code for pages, even where it is never reached. */
export async function fileSystem(op: string): Promise<typeof import("node:fs/promises")> {
  if (typeof process !== "object" || process.versions?.node === undefined) fail("value", op, "got a path, but there is no file system here", "pass bytes or a Blob")
  const name = "node:fs/promises"
  return (await import(/* webpackIgnore: true */ /* @vite-ignore */ name)) as typeof import("node:fs/promises")
}
