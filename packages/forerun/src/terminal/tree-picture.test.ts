import { expect, it } from 'vitest';
import type { PieceRound } from '../model/generation.ts';
import { treePicture } from './tree-picture.ts';

// oxlint-disable-next-line no-control-regex
const plain = (lines: readonly string[]): string[] => lines.map((line) => line.replaceAll(/\u001b\[\d+m/g, ''));

/** A round from parents and texts; depths do not show in a picture. */
function roundOf(rows: readonly (readonly [parent: number, text: string])[], path: readonly number[]): PieceRound {
  const nodes = rows.map(([parent, text], row) => ({
    token: row,
    parent,
    text,
    depth: 0,
    accepted: path.includes(row),
  }));
  return { nodes, path, next: { id: 9, text: ' own' }, disagreed: true, times: undefined };
}

it('draws a chain that was accepted on one line', () => {
  const chain = roundOf(
    [
      [-1, ' a'],
      [0, ' b'],
      [1, ' c'],
    ],
    [0, 1, 2],
  );
  expect(plain(treePicture(chain, 80))).toEqual(['a ─ b ─ c ─ → own']);
});

it('draws the guesses that were refused below what the model chose', () => {
  const chain = roundOf(
    [
      [-1, ' a'],
      [0, ' b'],
      [1, ' c'],
      [2, ' d'],
    ],
    [0, 1],
  );
  expect(plain(treePicture(chain, 80))).toEqual(['a ─ b ┬ → own', '      └ ✗ c ─ d']);
});

it('draws trees, the accepted path on top', () => {
  const rows = [
    [-1, 'a'],
    [0, 'b'],
    [0, 'c'],
    [0, 'd'],
    [1, 'e'],
    [2, 'f'],
    [2, 'g'],
    [5, 'h'],
  ] as const;
  expect(plain(treePicture(roundOf(rows, [0, 2, 5]), 80))).toEqual([
    'a ┬ c ┬ f ┬ → own',
    '  │   │   └ ✗ h',
    '  │   └ ✗ g',
    '  ├ ✗ b ─ e',
    '  └ ✗ d',
  ]);
});

it('writes what is no word, controls nothing, and cuts long lines', () => {
  const chain = roundOf(
    [
      [-1, '\n'],
      [0, ''],
      [1, ' \u001b[2J'],
      [2, 'x'.repeat(50)],
    ],
    [0, 1, 2, 3],
  );
  const [line] = plain(treePicture(chain, 40));
  expect(line).toBe(`"\\n" ─ #1 ─ \\x1b[2J ─ ${'x'.repeat(17)}…`);
  expect([...line!]).toHaveLength(40);
});
