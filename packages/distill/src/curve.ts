import type { History } from "./train/options.ts"

/** Points of one line, and how it looks. */
export interface Series { readonly name: string; readonly color: string; readonly points: readonly (readonly [x: number, y: number])[] }
export interface Axes { readonly x: string; readonly y: string }

const [width, height, left, right, top, bottom] = [720, 400, 64, 16, 16, 48]
const escaped = (text: string): string => text.replace(/[<>&"]/g, (c) => `&#${c.charCodeAt(0)};`)

/** Lines as an SVG picture. */
export function curve(series: readonly Series[], axes: Axes): string {
  const all = series.flatMap((s) => s.points).filter(([, y]) => Number.isFinite(y))
  const xs = ticks(0, Math.max(1, ...all.map(([x]) => x))), ys = ticks(Math.min(...all.map(([, y]) => y), Infinity), Math.max(...all.map(([, y]) => y), -Infinity))
  const across = scale(xs, left, width - right), down = scale(ys, height - bottom, top)
  const text = (x: number, y: number, what: string, more = ""): string => `<text x="${x}" y="${y}"${more}>${escaped(what)}</text>`
  const parts = [
    ...xs.map((x) => text(across(x), height - bottom + 18, x.toLocaleString("en"), ' text-anchor="middle"')),
    ...ys.map((y) => `<path d="M${left} ${down(y)}H${width - right}" stroke="#ddd"/>` + text(left - 8, down(y) + 4, String(y), ' text-anchor="end"')),
    text((left + width - right) / 2, height - 10, axes.x, ' text-anchor="middle"'),
    text(0, 0, axes.y, ` text-anchor="middle" transform="translate(16 ${(top + height - bottom) / 2}) rotate(-90)"`),
    ...series.map(({ color, points }) => `<polyline fill="none" stroke="${color}" stroke-width="1.5" points="${points.filter(([, y]) => Number.isFinite(y)).map(([x, y]) => `${across(x)},${down(y)}`).join(" ")}"/>`),
    ...series.map(({ name, color }, i) => text(width - right - 8, top + 18 * (i + 1), name, ` text-anchor="end" fill="${color}"`)),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">\n<rect width="${width}" height="${height}" fill="#fff"/>\n${parts.join("\n")}\n</svg>\n`
}

/** Round numbers, about six, from the last at or below `low` to the first at or above `high`. */
function ticks(low: number, high: number): number[] {
  if (!(high >= low)) return [0, 1]
  const rough = Math.max((high - low) / 6, 1e-9), power = 10 ** Math.floor(Math.log10(rough))
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough)!
  const first = Math.floor(low / step + 1e-9), last = Math.max(Math.ceil(high / step - 1e-9), first + 1)
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)))
}

const scale = (marks: readonly number[], from: number, to: number) => (v: number): number =>
  Number((from + ((v - marks[0]!) / (marks.at(-1)! - marks[0]!)) * (to - from)).toFixed(1))

const colors = ["#8aa8d8", "#c0392b", "#27875f", "#8e5bb5", "#b5822d"]

/** The losses of a run, as means of some neighbouring steps each, and its scores, as an SVG picture. */
export function lossCurve({ losses, scores }: History, { points = 200 }: { /** Points of the losses' line at most; 200 unless given. */ readonly points?: number } = {}): string {
  const run = Math.max(1, Math.ceil(losses.length / points))
  const means = Array.from({ length: Math.ceil(losses.length / run) }, (_, i) => {
    const some = losses.slice(i * run, (i + 1) * run)
    return [Math.min((i + 1) * run, losses.length), some.reduce((a, b) => a + b, 0) / some.length] as const
  })
  const names = [...new Set(scores.flatMap((s) => Object.keys(s.scores)))]
  return curve([
    { name: "loss", color: colors[0]!, points: means },
    ...names.map((name, i) => ({ name, color: colors[(i + 1) % colors.length]!, points: scores.filter((s) => name in s.scores).map((s) => [s.step, s.scores[name]!] as const) })),
  ], { x: "step", y: "loss" })
}
