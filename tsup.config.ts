import { defineConfig } from "tsup"

/** How every published package is built; run from the package's own folder. */
export default defineConfig({
  entry: ["src/index.ts"],
  format: "esm",
  target: "es2024",
  platform: "neutral",
  // Node's modules stay spelled `node:…`, so that Deno, Bun and bundlers know them for what they are.
  external: [/^node:/],
  removeNodeProtocol: false,
  dts: true,
  sourcemap: true,
  clean: true,
})
