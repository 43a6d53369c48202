import type { Chance } from '../chance/chance.ts';
import type { HostTree, HostVerdict } from '../verdict/verdict.ts';

/**
 * Sample-and-match in float64: draws the target's own token at a row and follows it while it is a child, the lowest of equal ones. `next`
 * is certain: it was drawn.
 */
export function matchReference(
  { tokens, parents }: HostTree,
  p: readonly ArrayLike<number>[],
  chance: Pick<Chance, 'draw'>,
): HostVerdict {
  const path = [0];
  for (;;) {
    const current = path.at(-1)!;
    const token = chance.draw(p[current]!);
    let child = current + 1;
    while (child < tokens.length && !(parents[child] === current && tokens[child] === token)) child++;
    if (token < 0 || child >= tokens.length) {
      const next = new Float64Array(p[current]!.length);
      if (token >= 0) next[token] = 1;
      return { path, next, tests: path.length };
    }
    path.push(child);
  }
}
