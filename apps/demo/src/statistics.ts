import type { GenerationStatistics } from 'forerun';
import { element, tableRow } from './elements.ts';
import { msText, shareText } from './wording.ts';

/** Tables of what a story took. */
export class StatisticsView {
  readonly #section: HTMLElement;
  readonly #sums: HTMLTableElement;
  readonly #depths: HTMLTableElement;
  readonly #parts: HTMLTableElement;

  constructor(section: HTMLElement) {
    this.#section = section;
    [this.#sums, this.#depths, this.#parts] = section.querySelectorAll('table') as unknown as [
      HTMLTableElement,
      HTMLTableElement,
      HTMLTableElement,
    ];
  }

  /** Hides them until there is something to tell. */
  begin(): void {
    this.#section.hidden = true;
  }

  /** Tells what a story took. */
  end(statistics: GenerationStatistics): void {
    const { generatedTokens, rounds, acceptanceLength, acceptedTokens, draftedTokens } = statistics;
    const { acceptanceByDepth, times } = statistics;
    fill(this.#sums, [
      tableRow('Tokens', String(generatedTokens)),
      tableRow('Rounds of the model', String(rounds)),
      tableRow('Tokens a round', acceptanceLength.toFixed(2)),
      tableRow('Guesses accepted', draftedTokens === 0 ? 'none were made' : `${acceptedTokens} of ${draftedTokens}`),
      tableRow('Tokens a second', statistics.tokensPerSecond.toFixed(1)),
      tableRow('Ended by', statistics.stopReason ?? '-'),
    ]);
    fill(
      this.#depths,
      acceptanceByDepth.map((share, index) => tableRow(`Depth ${index + 1}`, meter(share), shareText(share))),
    );
    const parts = times ? Object.entries({ draft: times.draftMs, verify: times.verifyMs, commit: times.commitMs }) : [];
    const total = parts.reduce((sum, [, ms]) => sum + ms, 0);
    fill(
      this.#parts,
      parts.map(([name, ms]) => tableRow(name, meter(total > 0 ? ms / total : 0), msText(ms / Math.max(rounds, 1)))),
    );
    this.#section.hidden = false;
  }
}

/** Shows rows; a table without any says so. */
function fill(table: HTMLTableElement, rows: readonly HTMLTableRowElement[]): void {
  const empty = element('tr', '', element('td', 'quiet', table.dataset['empty'] ?? '-'));
  table.tBodies[0]!.replaceChildren(...(rows.length > 0 ? rows : [empty]));
}

/** A bar from 0 to 1; the number beside it says the same. */
function meter(share: number): HTMLElement {
  const fill = element('span', 'fill');
  fill.style.width = shareText(share).replace(' ', '');
  const made = element('span', 'meter', fill);
  made.setAttribute('aria-hidden', 'true');
  return made;
}
