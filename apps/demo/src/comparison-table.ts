import { element, tableRow } from './elements.ts';
import type { Compared, NotCompared } from './messages.ts';
import { drafterText } from './wording.ts';

/** The table of all drafters on one prompt. */
export class ComparisonView {
  readonly #section: HTMLElement;
  readonly #table: HTMLTableElement;
  #plainRate = 0;

  constructor(section: HTMLElement) {
    this.#section = section;
    this.#table = section.querySelector('table')!;
  }

  /** Begins anew. */
  begin(): void {
    this.#plainRate = 0;
    this.#table.tBodies[0]!.replaceChildren();
    this.#section.hidden = false;
  }

  /** Appends what one drafter made of the prompt; plain decoding comes first, and the others are held against it. */
  append(outcome: Compared | NotCompared): void {
    this.#table.tBodies[0]!.append('failure' in outcome ? failureRow(outcome) : this.#row(outcome));
  }

  #row({ drafter, statistics, same }: Compared): HTMLTableRowElement {
    const { rounds, acceptanceLength, draftedTokens, acceptedTokens, tokensPerSecond } = statistics;
    const plain = this.#table.rows.length === 1;
    if (plain) this.#plainRate = tokensPerSecond;
    const ratio = this.#plainRate > 0 ? tokensPerSecond / this.#plainRate : 0;
    const row = tableRow(
      drafterText(drafter),
      acceptanceLength.toFixed(2),
      tokensPerSecond.toFixed(1),
      `${ratio.toFixed(2)} ×`,
      plain ? '-' : element('span', same ? 'same' : 'failed', same ? 'the same' : 'differs'),
      String(rounds),
      draftedTokens === 0 ? '-' : `${acceptedTokens} of ${draftedTokens}`,
    );
    row.dataset['drafter'] = drafter;
    return row;
  }
}

function failureRow({ drafter, failure }: NotCompared): HTMLTableRowElement {
  const row = tableRow(drafterText(drafter), element('span', 'failed', failure));
  row.cells[1]!.colSpan = 6;
  row.dataset['drafter'] = drafter;
  return row;
}
