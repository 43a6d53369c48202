import type { Decoder, Drafter } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { earlyExit, nGram } from '@forerun/drafters';
import { ArgumentError } from '@forerun/tensor';

/**
 * Who guesses: nobody (plain decoding), a look-up in the text so far, the draft model that was loaded, the model's own first layers, or a
 * drafter of one's own.
 */
export type DrafterChoice = 'none' | 'n-gram' | 'draft-model' | 'early-exit' | Drafter;

/** The drafters that go by name. */
export const drafterNames = ['none', 'n-gram', 'draft-model', 'early-exit'] as const;

/** Name of a drafter. */
export type DrafterName = (typeof drafterNames)[number];

/** What a choice depends on. */
export interface DrafterParts {
  readonly decoder: Pick<Decoder, 'layerCount' | 'branching'>;
  readonly draftModel: Drafter | undefined;
}

/** Layers after which `early-exit` leaves the model: the first half. */
export function defaultExitLayer({ layerCount }: Pick<Decoder, 'layerCount'>): number {
  return Math.max(1, Math.floor(layerCount / 2));
}

/** Holds the drafters of one model, so that a name always means the same one and its programs are compiled once. */
export class DrafterChoices {
  readonly #nGram = nGram();
  readonly #draftModel: Drafter | undefined;
  readonly #earlyExit: Drafter | undefined;

  constructor({ decoder, draftModel }: DrafterParts) {
    this.#draftModel = draftModel;
    // A model of one layer has no earlier one, and drafts in the model's own state need a row for each position.
    const possible = decoder.layerCount > 1 && decoder.branching;
    this.#earlyExit = possible ? earlyExit({ layer: defaultExitLayer(decoder) }) : undefined;
  }

  /** What is used when nothing was said. */
  get default(): DrafterChoice {
    return this.#draftModel ? 'draft-model' : 'n-gram';
  }

  /** Names that this model can be used with, plain decoding first. */
  get names(): readonly DrafterName[] {
    const missing = new Set<DrafterName>();
    if (!this.#draftModel) missing.add('draft-model');
    if (!this.#earlyExit) missing.add('early-exit');
    return drafterNames.filter((name) => !missing.has(name));
  }

  /**
   * The drafter behind a choice; undefined for plain decoding.
   * @throws {@link ArgumentError} for an unknown name; {@link MismatchedPartsError} for a draft model that was not loaded, or a model
   *   that cannot be left early.
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
    if (choice === 'early-exit') {
      if (this.#earlyExit) return this.#earlyExit;
      throw new MismatchedPartsError(
        'This model cannot be left early: that needs two layers or more and no recurrent state. Choose the drafter "n-gram".',
      );
    }
    throw new ArgumentError(
      `Expected a drafter: ${drafterNames.join(', ')} or an object, got ${JSON.stringify(choice)}.`,
    );
  }
}
