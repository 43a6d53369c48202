import type { PieceRound } from '../model/generation.ts';
import { colours } from './colours.ts';
import { printable } from './printable.ts';

/** A line with what colours it, and how many columns it takes. */
interface Line {
  readonly text: string;
  readonly columns: number;
}

/**
 * The tree of a round in lines of text: what was accepted from left to right on the first, behind it the model's own token (`→`), and
 * below each node the guesses that were refused for its place (`✗`).
 *
 * @param columns - Longer lines are cut.
 */
export function treePicture({ nodes, path, next }: PieceRound, columns: number): string[] {
  const childrenOf = (row: number): number[] => {
    const children = nodes.flatMap(({ parent }, child) => (parent === row ? [child] : []));
    return children.sort((a, b) => Number(nodes[b]!.accepted) - Number(nodes[a]!.accepted));
  };
  const draw = (row: number): Line[] => {
    const { token, text, parent, accepted } = nodes[row]!;
    const refused = !accepted && nodes[parent]!.accepted;
    const label = refused ? `✗ ${word(text, token)}` : word(text, token);
    const colour = row === 0 ? String : accepted ? colours.green : refused ? colours.red : colours.dim;
    const below = childrenOf(row).map(draw);
    if (row === path.at(-1)) below.unshift([line(`→ ${word(next.text, next.id)}`, colours.blueBright)]);
    return join(line(label, colour), below);
  };
  return draw(0).map(({ text, columns: taken }) => (taken <= columns ? text : `${cut(text, columns - 1)}…`));
}

function line(text: string, colour: (text: string) => string): Line {
  return { text: colour(text), columns: [...text].length };
}

/** A token as a word: without the spaces around it, its line ends written out. */
function word(text: string, id: number): string {
  if (text === '') return `#${id}`;
  return printable(text.trim() === '' ? JSON.stringify(text) : text.trim()).replaceAll('\n', '\\n');
}

/** Puts blocks of lines to the right of a label, one below the other, with the branches that lead to them. */
function join(label: Line, blocks: readonly Line[][]): Line[] {
  if (blocks.length === 0) return [label];
  const margin: Line = { text: ' '.repeat(label.columns), columns: label.columns };
  return blocks.flatMap((block, index) => {
    const last = index === blocks.length - 1;
    const branch = index === 0 ? (last ? ' ─ ' : ' ┬ ') : last ? ' └ ' : ' ├ ';
    return block.map((row, at) => {
      const [before, sign] = at === 0 ? [index === 0 ? label : margin, branch] : [margin, last ? '   ' : ' │ '];
      return { text: before.text + sign + row.text, columns: before.columns + 3 + row.columns };
    });
  });
}

/** The first `columns` characters; colours among them stay, and are ended. */
function cut(text: string, columns: number): string {
  let [kept, taken] = ['', 0];
  // oxlint-disable-next-line no-control-regex
  for (const [part] of text.matchAll(/\u001b\[\d+m|./gsu)) {
    if (part.startsWith('\u001b')) kept += part;
    else if (taken < columns) [kept, taken] = [kept + part, taken + 1];
  }
  return kept;
}
