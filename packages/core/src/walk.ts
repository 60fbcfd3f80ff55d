import {
  abs, add, and, atan, bitcast, cast, ceil, cos, div, eq, erf, exp, floor, le, load, log, lt, max, min, mul, neg, not, or, pow,
  rem, round, select, shl, shr, sin, sqrt, store, sub, tanh, trunc, xor, type Expr, type ExprOp,
} from "./expr.ts"

/** Every expression below `roots`, sources first, each once. */
export function flatten(roots: readonly Expr[]): Expr[] {
  const seen = new Set<Expr>()
  const out: Expr[] = []
  const visit = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    for (const s of e.src) visit(s)
    out.push(e)
  }
  for (const r of roots) visit(r)
  return out
}

/** Rebuilds an expression with some leaves replaced. */
export function substitute(e: Expr, replace: (leaf: Expr) => Expr | undefined): Expr {
  const memo = new Map<Expr, Expr>()
  const go = (x: Expr): Expr => {
    let y = memo.get(x)
    if (y === undefined) {
      y = replace(x) ?? (x.src.length === 0 ? x : rebuild(x, x.src.map(go)))
      memo.set(x, y)
    }
    return y
  }
  return go(e)
}

const constructors = {
  neg, abs, sqrt, exp, log, sin, cos, atan, tanh, erf, floor, ceil, round, trunc, not,
  add, sub, mul, div, rem, min, max, pow, and, or, xor, shl, shr, lt, le, eq, select,
} satisfies Record<Exclude<ExprOp, "const" | "index" | "scalar" | "acc" | "load" | "cast" | "bitcast" | "store">, (...src: Expr[]) => Expr>

/** The expression `e` with other sources. */
export function rebuild(e: Expr, src: readonly Expr[]): Expr {
  if (src.every((s, i) => s === e.src[i])) return e
  switch (e.op) {
    case "load": return load(e.value, e.dtype!, src[0]!)
    case "cast": return cast(src[0]!, e.type)
    case "bitcast": return bitcast(src[0]!, e.type)
    case "store": return store(src[0]!, e.dtype!)
    default: return (constructors as Record<string, (...s: Expr[]) => Expr>)[e.op]!(...src)
  }
}

/** Prints an expression as numbered lines, one per shared value. Two kernels are the same exactly when they print the same. */
export function showExpr(root: Expr): string {
  const names = new Map<Expr, string>()
  const uses = new Map<Expr, number>()
  const all = flatten([root])
  for (const e of all) for (const s of e.src) uses.set(s, (uses.get(s) ?? 0) + 1)
  const lines: string[] = []
  for (const e of all) {
    const args = e.src.map((s) => names.get(s)!)
    const text =
      e.op === "const" ? `${Object.is(e.value, -0) ? "-0" : e.value}${e.type === "i32" ? "" : e.type}`
      : e.op === "index" ? `i${e.value}`
      : e.op === "scalar" ? `s${e.value}:${e.type}`
      : e.op === "acc" ? "acc"
      : e.op === "load" ? `p${e.value}[${args[0]}]`
      : e.op === "store" ? `store.${e.dtype}(${args[0]})`
      : e.op === "cast" || e.op === "bitcast" ? `${e.op}.${e.type}(${args[0]})`
      : `${e.op}(${args.join(", ")})`
    if (e !== root && e.src.length > 0 && uses.get(e)! > 1) {
      names.set(e, `%${lines.length}`)
      lines.push(`%${lines.length} = ${text}`)
    } else names.set(e, text)
  }
  return [...lines, names.get(root)!].join("; ")
}
