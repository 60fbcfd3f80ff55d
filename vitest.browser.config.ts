import { fileURLToPath } from "node:url"
import { playwright } from "@vitest/browser-playwright"
import { defineConfig } from "vitest/config"
import { chromiumFlags, findChromium } from "./runtimes/installed.ts"

const executablePath = findChromium()
if (executablePath === undefined) throw new Error("test:browser needs Chromium: put it on the path, or name its executable in CHROMIUM")

// The conformance table and recorded values on a page.
export default defineConfig({
  // Threads share memory on isolated pages only.
  server: { headers: { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" } },
  // Found at the start: what is found later makes the page load again, in the middle of tests.
  resolve: { alias: { "gpu.js": fileURLToPath(new URL("packages/kernels/node_modules/gpu.js", import.meta.url)) } },
  optimizeDeps: { include: ["gpu.js", "fast-check"] },
  define: { "process.env": JSON.stringify({ CI: process.env.CI, THIMBLE_RUNS: process.env.THIMBLE_RUNS, THIMBLE_SEED: process.env.THIMBLE_SEED }) },
  test: {
    include: [
      "packages/conformance/test/{forward,formulas,gradient,lacks,random,golden-*}.test.ts", "packages/kernels/test/{gpujs.modes,webgpu.lost}.test.ts",
      "packages/formats/test/golden-{ggml,containers,tokenizers}.test.ts", "packages/models/test/demo.test.ts",
    ],
    setupFiles: ["vitest.setup.ts"],
    // Compilers of shaders for a driver without a GPU take their time.
    testTimeout: 180_000,
    maxWorkers: 2,
    browser: {
      enabled: true, headless: true, screenshotFailures: false,
      provider: playwright({ launchOptions: { executablePath, args: [...chromiumFlags, "--enable-unsafe-webgpu", "--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension"] } }),
      instances: [{ browser: "chromium" }],
    },
    reporters: process.env.CI ? ["default", ["json", { outputFile: ".cache/vitest-browser.json" }]] : ["default"],
  },
})
