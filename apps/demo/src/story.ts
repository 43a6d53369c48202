import type { GenerationPiece } from 'forerun';
import { element } from './elements.ts';
import { lineText } from './wording.ts';

/** Shows a story as it comes, round by round. Text of the model is text: it never becomes markup. */
export class StoryView {
  readonly #output: HTMLElement;
  #rounds: HTMLElement[] = [];

  constructor(output: HTMLElement) {
    this.#output = output;
  }

  /** Begins anew with how the story begins. */
  begin(prompt: string): void {
    this.#rounds = [];
    this.#output.replaceChildren(document.createTextNode(prompt));
  }

  /** Appends what the next round gave. Refused guesses were meant for the place of the model's own token, so they stand before it. */
  append(piece: GenerationPiece): void {
    const kept = piece.tokens.map(({ text, origin }) => element('span', `token ${origin}`, text));
    const refused = refusedLine(piece).map(({ text, id }) => element('span', 'token rejected', lineText(text, id)));
    const round = element('span', 'round', ...kept.slice(0, -1), ...refused, ...kept.slice(-1));
    round.dataset['round'] = String(this.#rounds.push(round) - 1);
    this.#output.append(round);
  }

  /** Marks a round. */
  choose(index: number): void {
    for (const round of this.#output.querySelectorAll('.chosen')) round.classList.remove('chosen');
    this.#rounds[index]?.classList.add('chosen');
  }

  /** Shows or hides refused guesses. */
  showRejected(shown: boolean): void {
    this.#output.classList.toggle('with-rejected', shown);
  }
}

/** The first line of guesses that would have followed the accepted path; in a chain, all that were refused. */
function refusedLine({ rejected, round }: GenerationPiece): readonly { readonly id: number; readonly text: string }[] {
  if (!round) return rejected;
  const line: { id: number; text: string }[] = [];
  let row = round.path.at(-1)!;
  for (;;) {
    const child = round.nodes.findIndex(({ parent }) => parent === row);
    if (child < 0) return line;
    const { token, text } = round.nodes[child]!;
    line.push({ id: token, text });
    row = child;
  }
}
