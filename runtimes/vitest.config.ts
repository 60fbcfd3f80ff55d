import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    dir: "runtimes/test",
    globalSetup: "runtimes/test/build.ts",
    testTimeout: 60_000,
    // They share few processors, and time how soon a process ends.
    fileParallelism: false,
    // Names every test, and why one is skipped.
    reporters: process.env.CI ? ["verbose", ["json", { outputFile: ".cache/vitest-runtimes.json" }]] : ["verbose"],
  },
})
