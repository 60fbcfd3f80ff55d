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
  /** Of the labels of so many images, and of what those students make of all images. */
  readonly known: number
  readonly fewLabels: readonly Scored[]
  readonly fewBornAgain: readonly Scored[]
}

export function digitChecks({ teacher, student, labels, taught, bornAgain, known, fewLabels, fewBornAgain }: DigitResults): Check[] {
  const gains = (of: readonly Scored[], what: keyof Scored, over = labels): number[] => of.map((v, i) => v[what] - over[i]![what]), [gain, born, loss, few] = [gains(taught, "percent"), gains(bornAgain, "percent"), gains(bornAgain, "loss"), gains(fewBornAgain, "percent", fewLabels)]
  return [
    { claim: "the teacher answers ≥ 98.5 % rightly", holds: teacher.percent >= 98.5, found: `${teacher.percent.toFixed(2)} %` },
    { claim: "the student has at most a tenth of its parameters", holds: student <= teacher.size / 10, found: `${student.toLocaleString("en")} of ${teacher.size.toLocaleString("en")}` },
    { claim: `distillation gains ≥ 0.5 points over labels only, mean of ${gain.length} seeds`, holds: mean(gain) >= 0.5, found: `${meanText(gain, 2)} points` },
    { claim: "born-again students give more right answers than their parents, by more than the standard error", holds: mean(born) > standardError(born), found: `${meanText(born, 2)} points` },
    { claim: "born-again students have a lower cross entropy than their parents, by more than the standard error", holds: mean(loss) < -standardError(loss), found: `${meanText(loss, 4)} nats` },
    { claim: `… and more right answers, where parents know ${known.toLocaleString("en")} labels and tell their children what all images show`, holds: mean(few) > standardError(few), found: `${meanText(few, 2)} points` },
  ]
}

export function digitPage(results: DigitResults): string {
  const { images, tested, epochs, rounds, temperature, hidden, teacher, student, labels, taught, bornAgain, known, fewLabels, fewBornAgain } = results
  return `### Handwritten digits

A convolutional network, and plain ones with a hidden layer of ${hidden}, learn from the same ${images.toLocaleString("en")} images of MNIST, and are tested on ${tested.toLocaleString("en")} others. The teacher sees each image ${epochs} times, a little warped;
students see each ${rounds} times, as it is, all of them in the same order, by the same optimizer at the same rates. One learns from labels, one from the teacher's stored
answers alone (temperature ${temperature}), and one from labels and the answers of the one that learned from labels, half and half (born again).
Two more have few labels: one learns from ${known.toLocaleString("en")} images, others for each seed, in as many steps, and one from the first's answers to all images, without any label. The command:

\`\`\`sh
npx -y pnpm@12.21.0 distill:digits --data FOLDER --epochs ${epochs} --rounds ${rounds} --seeds ${labels.length} --temperature ${temperature} --known ${known}
\`\`\`

| | parameters | right answers | cross entropy | ${labels.map((_, seed) => `seed ${seed} |`).join(" ")}
|---|---:|---:|---:|${labels.map(() => "---:|").join("")}
| teacher | ${teacher.size.toLocaleString("en")} | ${teacher.percent.toFixed(2)} % | | ${labels.map(() => "|").join(" ")}
${([["labels only", labels], ["soft targets of the teacher", taught], ["born again", bornAgain], [`${known.toLocaleString("en")} labels only`, fewLabels], [`born again of ${known.toLocaleString("en")} labels`, fewBornAgain]] as const).map(([name, of]) => `| student, ${name} | ${student.toLocaleString("en")} | ${meanText(of.map((v) => v.percent), 2)} % | ${meanText(of.map((v) => v.loss), 4)} | ${of.map((v) => `${v.percent.toFixed(2)} |`).join(" ")}`).join("\n")}

${checksTable(digitChecks(results))}`
}
