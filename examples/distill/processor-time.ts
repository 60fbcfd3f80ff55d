/** Processor time of this process so far, of all of its threads, in seconds: what else the machine does leaves it alone. */
export function processorSeconds(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}
