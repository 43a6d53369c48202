import type { GenerationPiece, GenerationStatistics } from 'forerun';

/** Shows a story as it comes. Text of the model is text: it never becomes markup. */
export class StoryView {
  readonly #output: HTMLElement;
  readonly #table: HTMLTableElement;

  constructor(output: HTMLElement, table: HTMLTableElement) {
    this.#output = output;
    this.#table = table;
  }

  /** Begins anew with how the story begins. */
  begin(prompt: string): void {
    this.#output.replaceChildren(document.createTextNode(prompt));
    this.#table.hidden = true;
  }

  /** Appends what a round gave. Rejected guesses were meant for the place of the model's own token, so they stand before it. */
  append({ tokens, rejected }: GenerationPiece): void {
    const kept = tokens.map(({ text, origin }) => token(text, origin));
    const refused = rejected.map(({ text }) => token(text, 'rejected'));
    this.#output.append(...kept.slice(0, -1), ...refused, ...kept.slice(-1));
  }

  /** Shows or hides rejected guesses. */
  showRejected(shown: boolean): void {
    this.#output.classList.toggle('with-rejected', shown);
  }

  /** Says what the story took. */
  end(statistics: GenerationStatistics): void {
    const { generatedTokens, rounds, acceptanceLength, acceptedTokens, draftedTokens, acceptanceByDepth } = statistics;
    const share = (value: number): string => `${Math.round(100 * value)} %`;
    const rows: readonly (readonly [string, string])[] = [
      ['Tokens', String(generatedTokens)],
      ['Rounds of the model', String(rounds)],
      ['Tokens a round', acceptanceLength.toFixed(2)],
      ['Guesses accepted', draftedTokens === 0 ? 'none were made' : `${acceptedTokens} of ${draftedTokens}`],
      ['Accepted at depth 1, 2, …', acceptanceByDepth.map(share).join(', ') || '-'],
      ['Tokens a second', statistics.tokensPerSecond.toFixed(1)],
      ['Ended by', statistics.stopReason ?? '-'],
    ];
    this.#table.tBodies[0]!.replaceChildren(...rows.map(([name, value]) => row(name, value)));
    this.#table.hidden = false;
  }
}

function token(text: string, kind: string): HTMLElement {
  const span = document.createElement('span');
  span.className = `token ${kind}`;
  span.textContent = text;
  return span;
}

function row(name: string, value: string): HTMLElement {
  const line = document.createElement('tr');
  const head = document.createElement('th');
  head.scope = 'row';
  head.textContent = name;
  const cell = document.createElement('td');
  cell.textContent = value;
  line.append(head, cell);
  return line;
}
