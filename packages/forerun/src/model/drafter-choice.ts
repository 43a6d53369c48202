import type { Drafter } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { nGram } from '@forerun/drafters';
import { ArgumentError } from '@forerun/tensor';

/** Who guesses: nobody (plain decoding), a look-up in the text so far, the draft model that was loaded, or a drafter of one's own. */
export type DrafterChoice = 'none' | 'n-gram' | 'draft-model' | Drafter;

/** The drafters that go by name. */
export const drafterNames = ['none', 'n-gram', 'draft-model'] as const;

/** Name of a drafter. */
export type DrafterName = (typeof drafterNames)[number];

/** Holds the drafters of one model, so that a name always means the same one and its programs are compiled once. */
export class DrafterChoices {
  readonly #nGram = nGram();
  readonly #draftModel: Drafter | undefined;

  constructor(draftModel: Drafter | undefined) {
    this.#draftModel = draftModel;
  }

  /** What is used when nothing was said. */
  get default(): DrafterChoice {
    return this.#draftModel ? 'draft-model' : 'n-gram';
  }

  /** Names that this model can be used with, plain decoding first. */
  get names(): readonly DrafterName[] {
    return drafterNames.filter((name) => name !== 'draft-model' || this.#draftModel !== undefined);
  }

  /**
   * The drafter behind a choice; undefined for plain decoding.
   * @throws {@link ArgumentError} for an unknown name; {@link MismatchedPartsError} for a draft model that was not loaded.
   */
  resolve(choice: DrafterChoice): Drafter | undefined {
    if (typeof choice === 'object' && choice !== null && 'propose' in choice) return choice;
    if (choice === 'none') return undefined;
    if (choice === 'n-gram') return this.#nGram;
    if (choice === 'draft-model') {
      if (this.#draftModel) return this.#draftModel;
      throw new MismatchedPartsError(
        'There is no draft model: load the model with one (the option "draft"), or choose the drafter "n-gram".',
      );
    }
    throw new ArgumentError(
      `Expected a drafter: ${drafterNames.join(', ')} or an object, got ${JSON.stringify(choice)}.`,
    );
  }
}
