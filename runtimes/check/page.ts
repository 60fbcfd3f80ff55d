// For a page, and for a worker of it, which hands the verdict over when asked.
import { open } from "@thimble/kernels"
import { check } from "./check.ts"

export { check, open }
if (typeof document === "undefined") addEventListener("message", async () => postMessage(await check()))
