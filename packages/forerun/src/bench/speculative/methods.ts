import type { Drafter, Verifier } from '@forerun/contracts';
import {
  blockVerification,
  greedy,
  rejectionSampling,
  sampleAndMatch,
  traversalVerification,
  typicalAcceptance,
} from '@forerun/verifiers';

/** A rule by name, and how it judges a drafter. */
export interface VerifierMethod {
  readonly name: string;
  /** The rule for drafts that come with the distribution that they were drawn from. */
  readonly drawn: Verifier;
  /** The rule for drafts without one, where it has such a form. */
  readonly certain?: Verifier;
}

const makers: Readonly<Record<string, () => Omit<VerifierMethod, 'name'>>> = {
  'sample-and-match': () => ({ drawn: sampleAndMatch() }),
  greedy: () => ({ drawn: greedy() }),
  'rejection-sampling': () => ({
    drawn: rejectionSampling(),
    certain: rejectionSampling({ drafts: 'certain' }),
  }),
  'block-verification': () => ({ drawn: blockVerification(), certain: blockVerification({ drafts: 'certain' }) }),
  'traversal-verification': () => ({ drawn: traversalVerification() }),
  'typical-acceptance': () => ({ drawn: typicalAcceptance() }),
};

/** Names of the rules that can be compared. */
export const verifierNames: readonly string[] = Object.keys(makers);

/** A rule by a name of {@link verifierNames}. */
export function verifierMethod(name: string): VerifierMethod {
  return { name, ...makers[name]!() };
}

/** The form of a rule that fits a drafter; where none does, the one that says why. */
export function verifierFor({ drawn, certain }: VerifierMethod, drafter: Drafter): Verifier {
  return drawn.needs.distribution && !drafter.gives.distribution ? (certain ?? drawn) : drawn;
}

/** Whether a rule is one at a temperature: the greedy one takes the most likely token alone. */
export function judgesAt({ name }: VerifierMethod, temperature: number): boolean {
  return name !== 'greedy' || temperature === 0;
}
