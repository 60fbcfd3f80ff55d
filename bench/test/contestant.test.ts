import { expect, test } from "vitest"
import { start } from "../contestant.ts"
import { works } from "../works.ts"

const exp = works.find(({ op }) => op === "exp")!
const expected = exp.expected()
const enter = (name: string, work = exp) =>
  start(
    { name, module: `./test/participants/${name}.ts` },
    work,
    1,
    work === exp ? expected : work.expected(),
    new AbortController().signal,
  )

test("a participant with the right result is timed in its own process", async () => {
  const racer = await enter("right")
  if ("absent" in racer) throw new Error(racer.absent)
  expect(await racer.time(1)).toBeGreaterThan(0)
  await racer.close()
})

test.each([
  ["wrong", /^wrong result: off by/],
  ["crashing", /^process ended \(3\)/],
  ["missing", /Cannot find module/],
])("%s participants are left out with the reason", async (name, reason) => {
  expect(await enter(name)).toEqual({ absent: expect.stringMatching(reason) })
})

test("so is one that cannot do the work", async () => {
  expect(
    await enter(
      "right",
      works.find(({ op }) => op === "sum")!,
    ),
  ).toEqual({ absent: "only exp" })
})
