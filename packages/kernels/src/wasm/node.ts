/** Whether this is Node, or passes for it, as Deno and Bun do. */
export const inNode = typeof process === "object" && process.versions?.node !== undefined

interface NodeModules {
  readonly "node:v8": typeof import("node:v8")
  readonly "node:worker_threads": typeof import("node:worker_threads")
}
/** A module of Node. Bundlers must not see which: most refuse `node:` in code for pages, even where it is never reached. */
export const nodeModule = <N extends keyof NodeModules>(name: N): Promise<NodeModules[N]> => import(/* webpackIgnore: true */ /* @vite-ignore */ name) as Promise<NodeModules[N]>
