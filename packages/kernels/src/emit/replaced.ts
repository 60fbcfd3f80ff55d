import { rebuild, type Expr } from "@thimble/core"

/** Expressions with replacements, which are not looked into: one may be part of another. */
export function replaced(roots: readonly Expr[], rule: (e: Expr) => Expr | undefined): Expr[] {
  const memo = new Map<Expr, Expr>()
  const go = (e: Expr): Expr => {
    const known = memo.get(e) ?? rule(e) ?? (e.src.length === 0 ? e : rebuild(e, e.src.map(go)))
    memo.set(e, known)
    return known
  }
  return roots.map(go)
}
