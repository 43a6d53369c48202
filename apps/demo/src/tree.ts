import type { PieceRound } from 'forerun';
import { element } from './elements.ts';
import { tokenText } from './wording.ts';

/** What became of a node, by the class that it is drawn with. */
const fates = {
  anchor: 'last token before the round',
  accepted: 'accepted guess',
  refused: 'refused guess',
  unreached: 'guess behind a refused one',
  chosen: 'token of the model itself',
} as const;

/**
 * The tree of a round as nested lists: each node with the guesses that were made to follow it, the accepted one first, and behind the
 * accepted path the token that the model chose.
 */
export function treeOf(round: PieceRound): HTMLElement {
  const { nodes, path, next } = round;
  const children = nodes.map(() => [] as number[]);
  for (const [row, { parent }] of nodes.entries()) {
    if (parent >= 0) children[parent]![nodes[row]!.accepted ? 'unshift' : 'push'](row);
  }
  const fateOf = (row: number): keyof typeof fates => {
    if (row === 0) return 'anchor';
    if (nodes[row]!.accepted) return 'accepted';
    return nodes[nodes[row]!.parent]!.accepted ? 'refused' : 'unreached';
  };
  const item = (row: number): HTMLLIElement => {
    const { token, text } = nodes[row]!;
    const below = children[row]!.map(item);
    if (row === path.at(-1)) below.unshift(element('li', '', node(next.text, next.id, 'chosen')));
    return element(
      'li',
      '',
      node(text, token, fateOf(row)),
      ...(below.length > 0 ? [element('ul', '', ...below)] : []),
    );
  };
  return element('ul', 'tree', item(0));
}

function node(text: string, id: number, fate: keyof typeof fates): HTMLElement {
  const made = element('span', `node ${fate}`, element('span', 'token', tokenText(text, id)));
  made.append(element('span', 'unseen', `, ${fates[fate]}`));
  made.title = `${fates[fate]}, token ${id}`;
  return made;
}
