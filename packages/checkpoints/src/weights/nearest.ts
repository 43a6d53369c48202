/** Candidates that are compared letter by letter, after a coarse choice by shared segments. */
const closeCalls = 32;

/**
 * The dotted names most like `name`, for error messages: first by how many leading and trailing segments they share, then by
 * Levenshtein distance.
 */
export function nearestNames(name: string, candidates: Iterable<string>, most = 3): string[] {
  const segments = name.split('.');
  const coarse = [...candidates]
    .map((candidate) => ({ candidate, shared: sharedSegments(segments, candidate.split('.')) }))
    .sort(
      (a, b) =>
        b.shared - a.shared || Math.abs(a.candidate.length - name.length) - Math.abs(b.candidate.length - name.length),
    )
    .slice(0, closeCalls);
  return coarse
    .map(({ candidate }) => ({ candidate, distance: editDistance(name, candidate) }))
    .filter(({ distance }) => distance <= Math.max(4, name.length * 0.6))
    .sort((a, b) => a.distance - b.distance || (a.candidate < b.candidate ? -1 : 1))
    .slice(0, most)
    .map(({ candidate }) => candidate);
}

function sharedSegments(a: readonly string[], b: readonly string[]): number {
  const most = Math.min(a.length, b.length);
  let leading = 0;
  while (leading < most && a[leading] === b[leading]) leading++;
  let trailing = 0;
  while (trailing < most - leading && a.at(-1 - trailing) === b.at(-1 - trailing)) trailing++;
  return leading + trailing;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = previous[column - 1]! + (a[row - 1] === b[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, previous[column]! + 1, current[column - 1]! + 1));
    }
    previous = current;
  }
  return previous[b.length]!;
}
