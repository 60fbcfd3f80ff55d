import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

/** Files that take longest begin first, so that no processor waits for another at the end: those whose shaders a driver compiles. */
class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const slow = (file: TestSpecification): boolean => /\/(wgsl\.|golden-ops)/.test(file.moduleId)
    return (await super.sort(files)).toSorted((a, b) => Number(slow(b)) - Number(slow(a)))
  }
}

export default defineConfig({
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
