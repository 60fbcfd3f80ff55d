import { execFileSync } from "node:child_process"
import { cpSync, mkdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { build as bundle, type Options } from "tsup"

/** What the check imports. */
export const packages = ["core", "kernels", "compress", "formats", "models"] as const
/** Where `pnpm test:runtimes` puts the packed packages, and where everything is served from. */
export const out = join(import.meta.dirname, "out")

const common = {
  config: false, format: "esm", target: "es2024", outExtension: () => ({ js: ".mjs" }), silent: true, dts: false,
  env: { THIMBLE_RUNS: "", THIMBLE_SEED: "" },
} satisfies Options

interface Manifest { readonly version: string; readonly dependencies?: Readonly<Record<string, string>>; readonly peerDependencies?: Readonly<Record<string, string>> }
const folderOf = (name: string): string => join(import.meta.dirname, "..", "packages", name)
const manifestOf = (name: string): Manifest => JSON.parse(readFileSync(join(folderOf(name), "package.json"), "utf8")) as Manifest
/** What a package needs of others. */
export const othersOf = (name: string): string[] => Object.keys(manifestOf(name).dependencies ?? {}).filter((d) => !d.startsWith("@thimble/"))

/**
 * Lays out what a user would have: in `node_modules` the packages as they are published, beside them the check as plain
 * JavaScript that imports them (`plain`), and as an application's bundler would make it: everything in one file, for a
 * browser, minified (`bundled`).
 */
export async function build(): Promise<void> {
  const modules = join(out, "node_modules", "@thimble")
  for (const made of ["node_modules", "plain", "bundled"]) rmSync(join(out, made), { recursive: true, force: true })
  for (const name of packages) {
    const { version } = manifestOf(name)
    mkdirSync(join(modules, name), { recursive: true })
    execFileSync("tar", ["-xzf", join(out, `thimble-${name}-${version}.tgz`), "-C", join(modules, name), "--strip-components=1"])
    // What the packages depend on is as it was installed for them.
    for (const other of othersOf(name))
      cpSync(join(folderOf(name), "node_modules", other), join(out, "node_modules", other), { recursive: true, dereference: true })
  }
  const entry = ["program.ts", "page.ts", "webgpu.ts"].map((file) => join(import.meta.dirname, "check", file))
  await bundle({ ...common, entry, outDir: join(out, "plain"), platform: "neutral", external: [/^@thimble\//], noExternal: ["fast-check"] })
  await bundle({ ...common, entry: [join(out, "plain", "page.mjs")], outDir: join(out, "bundled"), platform: "browser", noExternal: [/./], splitting: false, minify: true, metafile: true })
  const { outputs } = JSON.parse(readFileSync(join(out, "bundled", "metafile-esm.json"), "utf8")) as { outputs: Record<string, { imports: { path: string }[] }> }
  const left = Object.values(outputs).flatMap(({ imports }) => imports.map(({ path }) => path))
    // Optional packages that are not installed stay as they are; asking for them is an error that says so.
    .filter((path) => !packages.some((name) => path in (manifestOf(name).peerDependencies ?? {})))
  if (left.length > 0) throw new Error(`bundlers for pages see imports that no page has: ${left.join(", ")}`)
}
