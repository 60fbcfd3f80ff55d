import {
  abs, acc, add, and, atan, bitcast, cast, ceil, constant, cos, div, eq, erf, exp, floor, index, le, load, log, lt, max, min, mul, neg, not, or, pow,
  rem, round, scalar, select, shl, shr, sin, sqrt, store, sub, tanh, trunc, xor, type Expr, type ExprOp,
} from "./expr.ts"

/** Every expression below `roots`, sources first, each once. */
export function flatten(roots: readonly Expr[]): Expr[] {
  const seen = new Set<Expr>()
  const out: Expr[] = []
  const visit = (e: Expr): void => {
    if (seen.has(e)) return
    seen.add(e)
    for (let i = 0; i < e.src.length; i++) visit(e.src[i]!)
    out.push(e)
  }
  for (const r of roots) visit(r)
  return out
}

/**
 * Rebuilds expressions in the current scope of expressions, sources first; `rule` may replace a node (which already
 * has its rebuilt sources) by something else. What it returns is not visited again.
 */
export function rewrite(roots: readonly Expr[], rule: (e: Expr) => Expr | undefined = () => undefined): Expr[] {
  const memo = new Map<Expr, Expr>()
  for (const e of flatten(roots)) {
    const copy = rebuild(e, e.src.map((s) => memo.get(s)!))
    // A node that simplification turned into something else is already rewritten.
    memo.set(e, (copy.op === e.op ? rule(copy) : undefined) ?? copy)
  }
  return roots.map((r) => memo.get(r)!)
}

const constructors = {
  neg, abs, sqrt, exp, log, sin, cos, atan, tanh, erf, floor, ceil, round, trunc, not,
  add, sub, mul, div, rem, min, max, pow, and, or, xor, shl, shr, lt, le, eq, select,
} satisfies Record<Exclude<ExprOp, "const" | "index" | "scalar" | "acc" | "load" | "cast" | "bitcast" | "store">, (...src: Expr[]) => Expr>

/** The expression `e` with other sources, in the current scope. */
export function rebuild(e: Expr, src: readonly Expr[]): Expr {
  switch (e.op) {
    case "const": return constant(e.type, e.value)
    case "index": return index(e.value, e.high + 1)
    case "scalar": return scalar(e.type, e.value)
    case "acc": return acc(e.type, e.value as 0 | 1)
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
      : e.op === "acc" ? (e.value === 0 ? "acc" : "acc2")
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
