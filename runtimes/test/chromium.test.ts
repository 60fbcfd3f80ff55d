import { availableParallelism } from "node:os"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Browser, Page } from "playwright-core"
import type { Verdict } from "../check/check.ts"
import { launch, serve, type Headers } from "../chromium.ts"
import { findChromium } from "../installed.ts"

const file = findChromium()
/** The least that a strict page must allow. */
const policy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:"

let browser: Browser
beforeAll(async () => { if (file !== undefined) browser = await launch(file) })
afterAll(() => browser?.close())

/** Does something on an empty page, and fails on whatever the page complains of. */
async function onPage<T>(headers: Headers, act: (page: Page) => Promise<T>): Promise<{ result: T; complaints: string[] }> {
  const { url, server } = await serve(headers)
  const page = await browser.newPage()
  const complaints: string[] = []
  page.on("pageerror", (error) => complaints.push(error.message))
  page.on("console", (message) => { if (message.type() !== "log") complaints.push(message.text()) })
  try {
    await page.goto(url)
    return { result: await act(page), complaints }
  } finally {
    await page.close()
    server.close()
    server.closeAllConnections()
  }
}
// As text: vitest rewrites imports in functions.
const inPage = (script: string) => (page: Page): Promise<Verdict> => page.evaluate<Verdict>(`import("${script}").then((m) => m.check())`)
const inWorker = (script: string) => (page: Page): Promise<Verdict> => page.evaluate<Verdict>(`new Promise((resolve, reject) => {
  const worker = new Worker("${script}", { type: "module" })
  worker.onmessage = ({ data }) => resolve(data)
  worker.onerror = ({ message }) => reject(new Error(message))
  worker.postMessage("check")
})`)

const plain = "/plain/page.mjs", bundled = "/bundled/page.mjs"
const isolated: Headers = { isolated: true }, strict: Headers = { isolated: true, policy }
const all = availableParallelism()
const cases: readonly [string, Headers, (page: Page) => Promise<Verdict>, readonly number[]][] = [
  ["threads, on an isolated page, modules as published", isolated, inPage(plain), [1, 2, 5, all]],
  ["threads, on an isolated page with a content security policy, bundled", strict, inPage(bundled), [1, 2, 5, all]],
  ["threads, in a worker of an isolated page", isolated, inWorker(bundled), [1, 2, 5, all]],
  ["one thread, on a page that is not isolated", { isolated: false }, inPage(bundled), [1, 1, 1, 1]],
  ["one thread, in a worker of such a page", { isolated: false }, inWorker(bundled), [1, 1, 1, 1]],
]

describe.skipIf(file === undefined)(file ? "Chromium" : "Chromium: there is none on the path, and CHROMIUM names none", () => {
  test.each(cases)("%s: every op", async (_name, headers, act, threads) => {
    const { result, complaints } = await onPage(headers, act)
    expect({ faults: result.faults, complaints }).toEqual({ faults: [], complaints: [] })
    expect(result.threads).toEqual(threads)
  })
  test("a policy that forbids workers from blob: an error that says so; one thread needs none", async () => {
    const attempt = (threads: number) => (page: Page): Promise<string> => page.evaluate<string>(`import("${bundled}").then((m) => m.open("wasm", { threads: ${threads} })).then((device) => "opened " + device.threads, String)`)
    const forbidding: Headers = { isolated: true, policy: "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'" }
    const { result } = await onPage(forbidding, attempt(2))
    expect(result).toBe("ThimbleError: open: a thread of the wasm device failed; a page's content security policy must allow workers from blob: and 'wasm-unsafe-eval'")
    expect((await onPage(forbidding, attempt(1))).result).toBe("opened 1")
  })
})
