import { accessSync, constants } from "node:fs"
import { delimiter, join } from "node:path"

/** The browser that is installed: the one that CHROMIUM names, or one of the usual names on the path. */
export function findChromium(): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter)
  const named = process.env.CHROMIUM ? [process.env.CHROMIUM] : ["chromium", "chromium-browser", "google-chrome"].flatMap((name) => folders.map((folder) => join(folder, name)))
  return named.find((file) => {
    try {
      accessSync(file, constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

/** What a test wants of it: no window, no sandbox (it may be root's), and no traffic of its own. */
export const chromiumFlags = ["--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] as const
