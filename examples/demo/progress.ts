import { SingleBar } from "cli-progress"

/** A bar that counts what has begun; where there is no terminal, a line every five seconds. */
export function progress(format: string, total: number, values: Readonly<Record<string, string>>) {
  const bar = new SingleBar({ format, gracefulExit: false, hideCursor: true, noTTYOutput: true, notTTYSchedule: 5000 })
  bar.start(total, 0, values)
  let begun = 0
  return {
    next: (values: Readonly<Record<string, string>>): void => bar.update(begun++, values),
    update: (value: number, values: Readonly<Record<string, string>>): void => bar.update(value, values),
    total: (value: number): void => bar.setTotal(value),
    stop: (): void => {
      bar.update(bar.getTotal())
      bar.stop()
    },
  }
}
