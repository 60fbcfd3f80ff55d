import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    dir: "interop/test",
    testTimeout: 30_000,
    // Names every test, and why one is skipped.
    reporters: process.env.CI ? ["verbose", ["json", { outputFile: ".cache/vitest-interop.json" }]] : ["verbose"],
  },
})
