/** Runs of the decoding loop over the models of cases, round by round. */
import type { Drafter, DrafterState, Noise, TokenTree, Verifier } from '@forerun/contracts';
import { type Conversation, Engine, type GenerateRequest } from '@forerun/decoding';
import { type Device, gather, readState, State, WeightStore } from '@forerun/tensor';
import { greedy, philoxNoise } from '@forerun/verifiers';
import { type CaseModel, fillWeights, type OwnedWeights } from './case-model.ts';
import { listDifference } from './speculative-case.ts';

/** What else an engine of a case is made of. */
export interface CaseEngineOptions {
  readonly capacityTokens: number;
  /** Weights of draft models and heads. */
  readonly owned?: readonly OwnedWeights[];
  readonly verifier?: Verifier;
  readonly noise?: Noise;
}

/** An engine over the model of a case; greedy by default. */
export function caseEngine(
  device: Device,
  model: CaseModel,
  { capacityTokens, owned = [], verifier = greedy(), noise }: CaseEngineOptions,
): Promise<Engine> {
  const store = new WeightStore(device);
  return Engine.create({
    device,
    decoder: model.decoder,
    verifier,
    noise: noise ? () => noise : philoxNoise,
    weights: { store, fill: (wanted) => fillWeights(store, [model, ...owned], wanted) },
    capacityTokens,
    chunkTokens: [32],
  });
}

/** What a round proposed and kept. */
export interface CaseRound {
  /** Tokens of the sequence before it. */
  readonly length: number;
  readonly proposed: readonly number[];
  /** Drafts that were accepted. */
  readonly accepted: number;
  /** Tokens that it gave. */
  readonly tokens: readonly number[];
}

/** Generates to the end of a request, and tells what each round did. */
export async function runRounds(conversation: Conversation, request: GenerateRequest): Promise<CaseRound[]> {
  const rounds: CaseRound[] = [];
  let length = request.prompt.length;
  for await (const { drafts, accepted, tokens } of conversation.generate(request)) {
    rounds.push({ length, proposed: drafts, accepted, tokens });
    length += tokens.length;
  }
  return rounds;
}

/** Generates a single round. */
export async function runRound(conversation: Conversation, request: GenerateRequest): Promise<CaseRound> {
  const length = request.prompt.length;
  for await (const { drafts, accepted, tokens } of conversation.generate(request)) {
    return { length, proposed: drafts, accepted, tokens };
  }
  return { length, proposed: [], accepted: 0, tokens: [] };
}

/** A drafter of which no more than a number of drafts is used. */
export interface CutDrafter {
  readonly drafter: Drafter;
  /** Sets the number for all rounds of a conversation, or for those that begin at a position (of their anchor). */
  cut(conversation: Conversation, most: number | ReadonlyMap<number, number>): void;
}

interface CutState extends DrafterState {
  readonly inner: DrafterState;
}

/** Cuts the proposals of a drafter to what each round of a recorded run was allowed, in conversations of at most `capacityTokens`. */
export function cutDrafter(whole: Drafter, capacityTokens: number): CutDrafter {
  const most = new State({ name: 'most drafts', shape: [capacityTokens], dtype: 'u32' });
  const wholeTrees = new WeakMap<TokenTree, TokenTree>();
  const inside = (state: DrafterState) => (state as CutState).inner;
  const drafter: Drafter = {
    name: whole.name,
    needs: whole.needs,
    gives: whole.gives,
    state(capacityTokens, options): CutState {
      const inner = whole.state(capacityTokens, options);
      return {
        inner,
        states: [...inner.states, most],
        truncate: (to) => inner.truncate(to),
        reachable: (length, past) => inner.reachable(length, past),
      };
    },
    prefill: (target, state, context) => whole.prefill(target, inside(state), context),
    propose(round, state) {
      const tree = whole.propose(round, inside(state));
      const allowed = gather(readState(tree.count.graph, most), round.length);
      const cut = { ...tree, count: tree.count.min(allowed.add(1)) };
      wholeTrees.set(cut, tree);
      return cut;
    },
    absorb: (round, { tree, ...outcome }, state) =>
      whole.absorb(round, { tree: wholeTrees.get(tree) ?? tree, ...outcome }, inside(state)),
  };
  return {
    drafter,
    cut(conversation, count) {
      const at = (position: number) => (typeof count === 'number' ? count : (count.get(position) ?? 0));
      conversation.states.write(
        most,
        Uint32Array.from({ length: capacityTokens }, (_, position) => at(position)),
      );
    },
  };
}

/** A round as a case records it; what it does not record is not compared. */
export interface RecordedRound {
  readonly length?: number;
  readonly proposed?: readonly number[];
  readonly drafted?: number;
  readonly n_matches?: number;
  readonly tokens?: readonly number[];
  readonly emitted?: readonly number[];
}

/** What differs between a round and the recorded one. Drafts behind the recorded number, near the end of a run, do not count. */
export function roundDifference(what: string, got: CaseRound, want: RecordedRound): string | undefined {
  const drafts = want.proposed?.length ?? want.drafted ?? got.proposed.length;
  const emitted = want.tokens ?? want.emitted;
  return (
    (want.length === undefined ? undefined : listDifference(`${what}, length`, [got.length], [want.length])) ??
    (want.proposed ? listDifference(`${what}, drafts`, got.proposed.slice(0, drafts), want.proposed) : undefined) ??
    (want.n_matches === undefined
      ? undefined
      : listDifference(`${what}, accepted`, [Math.min(got.accepted, drafts)], [want.n_matches])) ??
    (emitted ? listDifference(`${what}, tokens`, got.tokens, emitted) : undefined)
  );
}

/** What differs between the rounds of a run and the recorded ones. */
export function roundsDifference(
  what: string,
  got: readonly CaseRound[],
  want: readonly RecordedRound[],
): string | undefined {
  const differing = want
    .map((recorded, index) => {
      const round = got[index];
      return round ? roundDifference(`${what}, round ${index}`, round, recorded) : `${what}: round ${index} is missing`;
    })
    .find((difference) => difference !== undefined);
  return differing ?? listDifference(`${what}, number of rounds`, [got.length], [want.length]);
}
