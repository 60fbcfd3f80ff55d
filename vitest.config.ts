import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

/** Files that take longest begin first, so that no processor waits for another at the end: those whose shaders a driver compiles. */
class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const slow = (file: TestSpecification): boolean => /\/(wgsl\.|golden-ops)/.test(file.moduleId)
    return (await super.sort(files)).toSorted((a, b) => Number(slow(b)) - Number(slow(a)))
  }
}

const bench = fileURLToPath(new URL("bench/", import.meta.url)), core = fileURLToPath(new URL("packages/core/src/index.ts", import.meta.url))

export default defineConfig({
  // The workspace of the benchmarks is installed only to run them; what is tested of it needs no more than this.
  plugins: [{ name: "bench", enforce: "pre", resolveId: (id, importer) => (id === "@thimble/core" && importer?.startsWith(bench) ? core : undefined) }],
  test: {
    include: ["{packages/*,bench,examples,docs}/test/**/*.test.ts"],
    setupFiles: ["vitest.setup.ts", "vitest.node.ts"],
    testTimeout: 30_000,
    maxWorkers: "100%",
    sequence: { sequencer: SlowestFirst },
    // .ci/run counts the tests from the json file.
    reporters: process.env.CI ? ["default", ["json", { outputFile: ".cache/vitest.json" }]] : ["default"],
  },
})
