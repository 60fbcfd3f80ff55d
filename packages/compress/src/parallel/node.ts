/** Whether this is Node, or passes for it, as Deno and Bun do. */
export const inNode = typeof process === "object" && process.versions?.node !== undefined

/** Bundlers must not see the module's name: most refuse `node:` in code for pages, even where it is never reached. */
export function workerThreads(): Promise<typeof import("node:worker_threads")> {
  const name = "node:worker_threads"
  return import(/* webpackIgnore: true */ /* @vite-ignore */ name) as Promise<typeof import("node:worker_threads")>
}
