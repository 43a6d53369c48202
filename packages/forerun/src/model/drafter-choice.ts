import type { Decoder, Drafter } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { earlyExit, lookahead, nGram, suffix, tokenRecycling } from '@forerun/drafters';
import { ArgumentError } from '@forerun/tensor';

/**
 * Who guesses: nobody (plain decoding), a look-up in the text so far, the draft model that was loaded, the model's own first layers, heads
 * that were loaded or stand in the checkpoint, or a drafter of one's own.
 */
export type DrafterChoice = DrafterName | Drafter;

/** Drafters that need nothing but the text and what the model says anyway. */
const lookupNames = ['n-gram', 'suffix', 'token-recycling', 'lookahead'] as const;

/** Heads that go by name. */
export const headNames = ['medusa', 'hydra', 'eagle', 'mtp', 'block'] as const;

/** Kind of heads. */
export type HeadName = (typeof headNames)[number];

/** The drafters that go by name. */
export const drafterNames = ['none', ...lookupNames, 'draft-model', 'early-exit', ...headNames] as const;

/** Name of a drafter. */
export type DrafterName = (typeof drafterNames)[number];

/** What a choice depends on. */
export interface DrafterParts {
  readonly decoder: Pick<Decoder, 'layerCount' | 'branching' | 'vocabSize'>;
  readonly draftModel: Drafter | undefined;
  /** Heads that were loaded with the model, the preferred ones first. */
  readonly heads?: ReadonlyMap<HeadName, Drafter> | undefined;
  /** Heads in the model's own checkpoint. */
  readonly ownHeads?: ReadonlyMap<HeadName, Drafter> | undefined;
}

/** Layers after which `early-exit` leaves the model: the first half. */
export function defaultExitLayer({ layerCount }: Pick<Decoder, 'layerCount'>): number {
  return Math.max(1, Math.floor(layerCount / 2));
}

/** Holds the drafters of one model, so that a name always means the same one and its programs are compiled once. */
export class DrafterChoices {
  readonly #lookups: ReadonlyMap<string, Drafter>;
  readonly #draftModel: Drafter | undefined;
  readonly #earlyExit: Drafter | undefined;
  readonly #heads: ReadonlyMap<string, Drafter>;
  /** What is used when nothing was said: heads that were loaded, else the draft model, else the checkpoint's own heads, else look-up. */
  readonly default: DrafterName;

  constructor({ decoder, draftModel, heads = new Map(), ownHeads = new Map() }: DrafterParts) {
    this.#draftModel = draftModel;
    this.#heads = new Map<string, Drafter>([...ownHeads, ...heads]);
    const { vocabSize } = decoder;
    const lookups: Readonly<Record<(typeof lookupNames)[number], Drafter>> = {
      'n-gram': nGram(),
      suffix: suffix(),
      'token-recycling': tokenRecycling({ vocabSize }),
      lookahead: lookahead({ vocabSize }),
    };
    this.#lookups = new Map(Object.entries(lookups));
    const [given] = heads.keys();
    const [own] = ownHeads.keys();
    this.default = given ?? (draftModel ? 'draft-model' : (own ?? 'n-gram'));
    // A model of one layer has no earlier one, and drafts in the model's own state need a row for each position.
    const possible = decoder.layerCount > 1 && decoder.branching;
    this.#earlyExit = possible ? earlyExit({ layer: defaultExitLayer(decoder) }) : undefined;
  }

  /** Names that this model can be used with, plain decoding first. */
  get names(): readonly DrafterName[] {
    const missing = new Set<DrafterName>();
    if (!this.#draftModel) missing.add('draft-model');
    if (!this.#earlyExit) missing.add('early-exit');
    for (const name of headNames) if (!this.#heads.has(name)) missing.add(name);
    return drafterNames.filter((name) => !missing.has(name));
  }

  /**
   * The drafter behind a choice; undefined for plain decoding.
   * @throws {@link ArgumentError} for an unknown name; {@link MismatchedPartsError} for a draft model or heads that were not loaded, or a
   *   model that cannot be left early.
   */
  resolve(choice: DrafterChoice): Drafter | undefined {
    if (typeof choice === 'object' && choice !== null && 'propose' in choice) return choice;
    if (choice === 'none') return undefined;
    const lookup = this.#lookups.get(choice);
    if (lookup) return lookup;
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
    if ((headNames as readonly string[]).includes(choice)) {
      const heads = this.#heads.get(choice);
      if (heads) return heads;
      throw new MismatchedPartsError(
        `There are no heads "${choice}": load the model with them (the option "heads"), or choose one of ${this.names.join(', ')}.`,
      );
    }
    throw new ArgumentError(
      `Expected a drafter: ${drafterNames.join(', ')} or an object, got ${JSON.stringify(choice)}.`,
    );
  }
}
