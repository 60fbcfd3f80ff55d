import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["{packages/*,bench,examples,docs}/test/**/*.test.ts"],
    setupFiles: ["vitest.setup.ts"],
    testTimeout: 30_000,
    // .ci/run counts the tests from the json file.
    reporters: process.env.CI ? ["default", ["json", { outputFile: ".cache/vitest.json" }]] : ["default"],
  },
})
