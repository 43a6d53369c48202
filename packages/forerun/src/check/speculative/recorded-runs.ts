/** Whole runs of published loops: each round's tree and verdict, and the tokens. */
import type { Drafter, Verifier } from '@forerun/contracts';
import { type Conversation, Engine } from '@forerun/decoding';
import { type Device, type SamplingSettings, type State, WeightStore } from '@forerun/tensor';
import { greedy } from '@forerun/verifiers';
import { type CaseModel, fillWeights, type OwnedWeights } from './case-model.ts';
import { listDifference } from './speculative-case.ts';
import { type RoundUniforms, Tape } from './tape.ts';

/** A round as published loops record it. */
export interface LoopRound {
  /** Tokens of the tree's rows, its root first. */
  readonly tree_tokens: readonly number[];
  /** Drafts that were accepted. */
  readonly accept_length: number;
  /** The root and the accepted drafts. */
  readonly emitted: readonly number[];
}

/** A run as published loops record it: the first root comes from the prompt's own pass, the last one is not emitted. */
export interface LoopRun {
  readonly name: string;
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  readonly rounds: readonly LoopRound[];
}

/** How a run is repeated. */
export interface Repetition {
  readonly drafter: Drafter;
  /** Greedy by default. */
  readonly verifier?: Verifier;
  readonly sampling?: SamplingSettings;
  /** Uniforms of each round. */
  readonly uniforms?: readonly RoundUniforms[];
  /** Uniforms of the first root; without, it is the most likely token. */
  readonly first?: RoundUniforms;
  /** States of the verifier. */
  readonly states?: readonly State[];
  /** Writes those that it reads. */
  readonly prepare?: (conversation: Conversation) => void;
  /** Looks at the conversation after the run. */
  readonly inspect?: (conversation: Conversation) => Promise<string | undefined>;
}

/** Positions behind a run that its last round may reach. */
const spareTokens = 8;

/** Runs recorded loops on one engine. */
export class LoopRunner {
  readonly #engine: Engine;
  readonly #tape: Tape;

  private constructor(engine: Engine, tape: Tape) {
    this.#engine = engine;
    this.#tape = tape;
  }

  /** Makes the engine for runs of a case. */
  static async open(
    device: Device,
    model: CaseModel,
    given: { readonly owned: readonly OwnedWeights[]; readonly runs: readonly LoopRun[] },
  ): Promise<LoopRunner> {
    const longest = Math.max(...given.runs.map(({ prompt, tokens }) => prompt.length + tokens.length));
    const capacityTokens = Math.min(longest + spareTokens, model.decoder.maxPositions);
    const tape = new Tape(capacityTokens);
    const store = new WeightStore(device);
    const engine = await Engine.create({
      device,
      decoder: model.decoder,
      verifier: greedy(),
      noise: () => tape.noise,
      weights: { store, fill: (wanted) => fillWeights(store, [model, ...given.owned], wanted) },
      capacityTokens,
      chunkTokens: [32],
    });
    return new LoopRunner(engine, tape);
  }

  /** What differs between a run and its repetition. */
  async difference(run: LoopRun, repetition: Repetition): Promise<string | undefined> {
    const { verifier = greedy(), sampling = {}, uniforms = [], first, states = [], prepare, inspect } = repetition;
    const { name, prompt, tokens, rounds } = run;
    const root = listDifference(
      `${name}, first root`,
      [
        await this.#root(prompt, {
          drafter: this.#tape.drafter(repetition.drafter, states),
          verifier,
          sampling,
          first,
          prepare,
        }),
      ],
      tokens.slice(0, 1),
    );
    if (root) return root;
    using conversation = this.#engine.open({
      drafter: this.#tape.drafter(repetition.drafter, states),
      verifier,
    });
    prepare?.(conversation);
    let position = prompt.length;
    const positions = rounds.map(({ emitted }) => (position += emitted.length) - emitted.length);
    this.#tape.write(
      conversation,
      positions.map((at, index) => [at, uniforms[index] ?? {}]),
    );
    const widest = Math.max(...rounds.map(({ tree_tokens }) => tree_tokens.length));
    const request = {
      prompt: [...prompt, tokens[0]!],
      // The last round ends with a root that is not emitted.
      maxTokens: tokens.length,
      width: widest,
      sampling,
    };
    const seen = [tokens[0]!];
    let index = 0;
    for await (const { drafts, accepted, tokens: kept } of conversation.generate(request)) {
      const round = rounds[index]!;
      const what = `${name}, round ${index}`;
      const difference =
        listDifference(`${what}, tree`, [seen.at(-1)!, ...drafts], round.tree_tokens) ??
        listDifference(`${what}, accepted drafts`, [accepted], [round.accept_length]) ??
        listDifference(`${what}, tokens`, [seen.at(-1)!, ...kept.slice(0, accepted)], round.emitted);
      if (difference) return difference;
      seen.push(...kept);
      if (++index === rounds.length) break;
    }
    return (
      listDifference(`${name}, number of rounds`, [index], [rounds.length]) ??
      listDifference(`${name}, tokens`, seen.slice(0, tokens.length), tokens) ??
      (await inspect?.(conversation))
    );
  }

  async #root(
    prompt: readonly number[],
    given: Required<Pick<Repetition, 'drafter' | 'verifier' | 'sampling'>> & {
      readonly first: RoundUniforms | undefined;
      readonly prepare: Repetition['prepare'];
    },
  ): Promise<number> {
    const { drafter, verifier, sampling, first, prepare } = given;
    using conversation = this.#engine.open(first ? { drafter, verifier } : {});
    if (first) prepare?.(conversation);
    if (first) this.#tape.write(conversation, [[prompt.length - 1, first]]);
    const request = { prompt, maxTokens: 1, width: 1, ...(first ? { sampling } : {}) };
    for await (const { tokens } of conversation.generate(request)) return tokens[0]!;
    return -1;
  }

  /** Frees the engine. */
  destroy(): void {
    this.#engine.destroy();
  }
}
