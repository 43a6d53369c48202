import type { GenerationPiece, PieceRound } from 'forerun';
import { element } from './elements.ts';
import { treeOf } from './tree.ts';
import { msText, tokenText } from './wording.ts';

/** Parts of the page that show rounds. */
export interface RoundElements {
  /** All of it; hidden while there is no round. */
  readonly section: HTMLElement;
  /** A bar a round, for pointers. */
  readonly strip: HTMLElement;
  /** The same choice for the keyboard. */
  readonly slider: HTMLInputElement;
  /** The chosen round in words. */
  readonly words: HTMLElement;
  readonly tree: HTMLElement;
}

/** The rounds of a story: one of them is chosen, and its tree is shown. While the story is told that is the last one, until another is chosen. */
export class RoundsView {
  readonly #elements: RoundElements;
  readonly #onChange: (index: number) => void;
  #pieces: GenerationPiece[] = [];
  #chosen = -1;
  #shown = -1;
  #follows = true;

  /** @param onChange - Called with the index of the round that is shown. */
  constructor(elements: RoundElements, onChange: (index: number) => void) {
    this.#elements = elements;
    this.#onChange = onChange;
    elements.slider.addEventListener('input', () => this.choose(elements.slider.valueAsNumber - 1));
  }

  /** Lets a pointer choose rounds in an element whose parts carry `data-round`: hovering shows one, a click keeps it. */
  listen(target: HTMLElement): void {
    const roundAt = ({ target: at }: Event): number => {
      const part = at instanceof Element ? at.closest<HTMLElement>('[data-round]') : null;
      return part ? Number(part.dataset['round']) : -1;
    };
    target.addEventListener('pointerover', (event) => {
      const index = roundAt(event);
      if (index >= 0) this.#show(index);
    });
    target.addEventListener('pointerleave', () => this.#show(this.#chosen));
    target.addEventListener('click', (event) => {
      const index = roundAt(event);
      if (index >= 0) this.choose(index);
    });
  }

  /** Forgets all rounds. */
  begin(): void {
    this.#pieces = [];
    this.#chosen = this.#shown = -1;
    this.#follows = true;
    this.#elements.section.hidden = true;
    this.#elements.strip.replaceChildren();
  }

  /** Takes in a round. */
  append(piece: GenerationPiece): void {
    const index = this.#pieces.push(piece) - 1;
    const { section, slider, strip } = this.#elements;
    section.hidden = false;
    slider.max = String(this.#pieces.length);
    strip.append(bar(piece, index));
    if (this.#follows) this.#choose(index);
    else this.#show(this.#shown);
  }

  /** Chooses a round for good. */
  choose(index: number): void {
    this.#follows = false;
    this.#choose(index);
  }

  #choose(index: number): void {
    this.#chosen = index;
    this.#elements.slider.value = String(index + 1);
    this.#show(index);
  }

  #show(index: number): void {
    const piece = this.#pieces[index];
    if (!piece?.round) return;
    const { strip, slider, words, tree } = this.#elements;
    const title = `Round ${index + 1} of ${this.#pieces.length}`;
    slider.setAttribute('aria-valuetext', title);
    words.replaceChildren(element('strong', '', title), ': ', ...sentence(piece.round));
    if (index === this.#shown) return;
    strip.children[this.#shown]?.classList.remove('chosen');
    strip.children[index]?.classList.add('chosen');
    this.#shown = index;
    tree.replaceChildren(treeOf(piece.round));
    this.#onChange(index);
  }
}

/** A bar as high as the tokens that the round gave, accepted guesses below. */
function bar({ tokens }: GenerationPiece, index: number): HTMLElement {
  const parts = tokens.map(({ origin }) => element('span', origin));
  const made = element('span', 'bar', ...parts.reverse());
  made.dataset['round'] = String(index);
  return made;
}

function sentence({ nodes, path, next, disagreed, times }: PieceRound): (Node | string)[] {
  const quote = (text: string, id: number): HTMLElement => element('q', 'token', tokenText(text, id));
  const accepted = path.length - 1;
  const own = quote(next.text, next.id);
  const said: (Node | string)[] = [];
  if (nodes.length === 1) said.push('nothing was guessed; the model chose ', own);
  else said.push(`${accepted} accepted of ${nodes.length - 1} guessed; then the model chose `, own);
  if (disagreed) {
    const refused = nodes.filter(({ parent }) => parent === path.at(-1));
    said.push(' where the guess was ', quote(refused[0]!.text, refused[0]!.token));
    if (refused.length > 1) said.push(refused.length === 2 ? ' or one other' : ` or ${refused.length - 1} others`);
  }
  said.push('.');
  if (times) {
    const { draftMs, verifyMs, commitMs } = times;
    said.push(` Draft ${msText(draftMs)}, verify ${msText(verifyMs)}, commit ${msText(commitMs)}.`);
  }
  return said;
}
