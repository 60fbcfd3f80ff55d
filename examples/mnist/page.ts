import type { Scored } from "./digits.ts"
import { mean, meanText, standardError } from "../figures.ts"
import { checksTable, type Check } from "../distill/record.ts"

/** Scores of students, one for each seed. */
export interface DigitResults {
  readonly images: number
  readonly tested: number
  readonly epochs: number
  readonly rounds: number
  readonly temperature: number
  readonly hidden: number
  readonly teacher: { readonly size: number; readonly percent: number }
  /** Parameters of a student. */
  readonly student: number
  readonly labels: readonly Scored[]
  readonly taught: readonly Scored[]
  readonly bornAgain: readonly Scored[]
  /** Of images with noise of this deviation. */
  readonly deviation: number
  readonly noisyLabels: readonly Scored[]
  readonly noisyBornAgain: readonly Scored[]
}

export function digitChecks({ teacher, student, labels, taught, bornAgain, noisyLabels, noisyBornAgain }: DigitResults): Check[] {
  const gains = (of: readonly Scored[], what: keyof Scored, over = labels): number[] => of.map((v, i) => v[what] - over[i]![what]), [noisy, alike] = [gains(noisyBornAgain, "percent"), gains(noisyBornAgain, "percent", noisyLabels)], [gain, born, loss] = [gains(taught, "percent"), gains(bornAgain, "percent"), gains(bornAgain, "loss")]
  return [
    { claim: "the teacher answers ≥ 98.5 % rightly", holds: teacher.percent >= 98.5, found: `${teacher.percent.toFixed(2)} %` },
    { claim: "the student has at most a tenth of its parameters", holds: student <= teacher.size / 10, found: `${student.toLocaleString("en")} of ${teacher.size.toLocaleString("en")}` },
    { claim: `distillation gains ≥ 0.5 points over labels only, mean of ${gain.length} seeds`, holds: mean(gain) >= 0.5, found: `${meanText(gain, 2)} points` },
    { claim: "born-again students give more right answers than their parents, by more than the standard error", holds: mean(born) > standardError(born), found: `${meanText(born, 2)} points` },
    { claim: "… where the children's images are noisy", holds: mean(noisy) > standardError(noisy), found: `${meanText(noisy, 2)} points` },
    { claim: "… and then more than students of the same noisy images and labels only", holds: mean(alike) > standardError(alike), found: `${meanText(alike, 2)} points` },
    { claim: "born-again students have a lower cross entropy than their parents, by more than the standard error", holds: mean(loss) < -standardError(loss), found: `${meanText(loss, 4)} nats` },
  ]
}

export function digitPage(results: DigitResults): string {
  const { images, tested, epochs, rounds, temperature, hidden, teacher, student, labels, taught, bornAgain, deviation, noisyLabels, noisyBornAgain } = results
  return `### Handwritten digits

A convolutional network, and plain ones with a hidden layer of ${hidden}, learn from the same ${images.toLocaleString("en")} images of MNIST, and are tested on ${tested.toLocaleString("en")} others. The teacher sees each image ${epochs} times, a little warped;
students see each ${rounds} times, as it is, all of them in the same order, by the same optimizer at the same rates. One learns from labels, one from the teacher's stored
answers alone (temperature ${temperature}), and one from labels and the answers of the one that learned from labels, half and half (born again).
Two more see images with noise of deviation ${deviation}: one learns from labels, one from labels and what the first said of the images without noise (noisy students). The command:

\`\`\`sh
npx -y pnpm@12.21.0 distill:digits --data FOLDER --epochs ${epochs} --rounds ${rounds} --seeds ${labels.length} --temperature ${temperature}
\`\`\`

| | parameters | right answers | cross entropy | ${labels.map((_, seed) => `seed ${seed} |`).join(" ")}
|---|---:|---:|---:|${labels.map(() => "---:|").join("")}
| teacher | ${teacher.size.toLocaleString("en")} | ${teacher.percent.toFixed(2)} % | | ${labels.map(() => "|").join(" ")}
${([["labels only", labels], ["soft targets of the teacher", taught], ["born again", bornAgain], ["noisy, labels only", noisyLabels], ["noisy, born again", noisyBornAgain]] as const).map(([name, of]) => `| student, ${name} | ${student.toLocaleString("en")} | ${meanText(of.map((v) => v.percent), 2)} % | ${meanText(of.map((v) => v.loss), 4)} | ${of.map((v) => `${v.percent.toFixed(2)} |`).join(" ")}`).join("\n")}

${checksTable(digitChecks(results))}`
}
