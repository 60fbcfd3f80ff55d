import { readFileSync } from "node:fs"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { join, normalize } from "node:path"
import { chromium, type Browser } from "playwright-core"
import { othersOf, out, packages } from "./build.ts"
import { chromiumFlags } from "./installed.ts"

export const launch = (executablePath: string): Promise<Browser> => chromium.launch({ executablePath, args: [...chromiumFlags] })

/** What a server may send with its pages. */
export interface Headers {
  /** Lets pages share memory among threads. */
  readonly isolated: boolean
  readonly policy?: string
}

const types: Readonly<Record<string, string>> = { html: "text/html", mjs: "text/javascript", js: "text/javascript", map: "application/json" }

/** Serves what `build` made, and at `/` an empty page; returns its address and how to stop it. */
export async function serve({ isolated, policy }: Headers): Promise<{ readonly url: string; readonly server: Server }> {
  const imports = Object.fromEntries([
    // All that a package exports, as its own package.json says.
    ...packages.flatMap((name) => {
      const { exports } = JSON.parse(readFileSync(join(out, "node_modules/@thimble", name, "package.json"), "utf8")) as { exports: Record<string, { default: string }> }
      return Object.entries(exports).map(([path, to]) => [`@thimble/${name}${path.slice(1)}`, new URL(to.default, `http://localhost/node_modules/@thimble/${name}/`).pathname])
    }),
    ...packages.flatMap(othersOf).map((name) => {
      const { module } = JSON.parse(readFileSync(join(out, "node_modules", name, "package.json"), "utf8")) as { module: string }
      return [name, new URL(module, `http://localhost/node_modules/${name}/`).pathname]
    }),
  ])
  const page = `<!doctype html><title>check</title>${policy ? "" : `<script type="importmap">${JSON.stringify({ imports })}</script>`}`
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url ?? "/", "http://localhost").pathname)
    if (path === "/favicon.ico") return void response.writeHead(204).end()
    try {
      const body = path === "/" ? page : readFileSync(join(out, path))
      response.writeHead(200, {
        "content-type": types[path === "/" ? "html" : path.split(".").at(-1)!] ?? "application/octet-stream",
        ...(isolated && { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" }),
        ...(policy && { "content-security-policy": policy }),
      }).end(body)
    } catch {
      response.writeHead(404).end()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, server }
}
