// For runtimes with a command line: prints the verdict as JSON, and ends by itself although a device is still open.
if (process.argv.includes("--without-shared-memory")) delete (globalThis as { SharedArrayBuffer?: unknown }).SharedArrayBuffer
const { check } = await import("./check.ts")
console.log(JSON.stringify(await check()))
