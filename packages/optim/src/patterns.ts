/**
 * Whether `pattern` names this parameter or a module it lies in: whole path segments from the start, `*` standing for any
 * one segment. `model.layers.2` matches `model.layers.2.mlp.up_proj.weight`, never `model.layers.20.…`.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  const wanted = pattern.split(".");
  const segments = name.split(".");
  return wanted.length <= segments.length && wanted.every((w, i) => w === "*" || w === segments[i]);
}

/** The names matched by any of the patterns, in the order of `names`. Throws if a pattern matches nothing. */
export function selectParameters(names: readonly string[], patterns: readonly string[]): string[] {
  for (const pattern of patterns) {
    if (!names.some((name) => matchesPattern(pattern, name))) {
      throw new RangeError(`no parameter matches '${pattern}'; parameters are named like '${names[0] ?? "(none)"}'`);
    }
  }
  return names.filter((name) => patterns.some((pattern) => matchesPattern(pattern, name)));
}
