/** Prompt lookup: proposals for given sequences, and greedy runs. */
import { type Drafter, loopStateWords, loopWords, type Round } from '@forerun/contracts';
import { nGram, type NGramOptions } from '@forerun/drafters';
import { Commands, compile, type Device, type Program, State, StateBuffers, trace } from '@forerun/tensor';
import { caseModel } from './case-model.ts';
import { caseEngine, cutDrafter, type RecordedRound, roundsDifference, runRounds } from './case-runs.ts';
import { firstDifference, listDifference, type SpeculativeCase } from './speculative-case.ts';

interface LookupParameters {
  /** Index into the case's sequences. */
  readonly input_ids: number;
  readonly num_output_tokens: number;
  readonly max_matching_ngram_size: number;
  readonly eos_token_id: number | readonly number[] | null;
  readonly max_length: number;
  readonly logits_processor?: {
    readonly suppress_tokens?: readonly number[];
    readonly no_repeat_ngram_size?: number;
  };
}

type LookupInstance = readonly [number: number, parameters: LookupParameters, proposed: readonly number[]];

interface LookupRun {
  readonly prompt: readonly number[];
  readonly prompt_lookup_num_tokens: number;
  readonly max_matching_ngram_size: number;
  readonly max_new_tokens: number;
  readonly tokens: readonly number[];
  readonly rounds: readonly RecordedRound[];
}

/** What look-up proposes for sequences, under every setting of the case, and what it proposes and keeps in runs. */
export async function promptLookup(one: SpeculativeCase): Promise<string | undefined> {
  const sequences = one.facts['sequences'] as readonly (readonly number[])[];
  const instances = one.facts['instances'] as readonly LookupInstance[];
  const lookups = new Lookups(one.device, Math.max(...sequences.map(({ length }) => length)));
  try {
    const difference = await firstDifference(instances, async ([number, parameters, proposed]) => {
      const tokens = sequences[parameters.input_ids]!;
      // Where only one more token fits, the target gives it and nothing is proposed.
      const full = parameters.max_length === tokens.length + 1;
      const got = full ? [] : await lookups.propose(tokens, parameters);
      return listDifference(`instance ${number}`, got, proposed);
    });
    return difference ?? (await runDifference(one));
  } finally {
    lookups.destroy();
  }
}

function lookupOptions({ max_matching_ngram_size, eos_token_id, ...rest }: LookupParameters): NGramOptions {
  const { suppress_tokens = [], no_repeat_ngram_size = 0 } = rest.logits_processor ?? {};
  return {
    longest: max_matching_ngram_size,
    prefer: 'earliest',
    // Upstream takes the most tokens of a sequence for a position up to which continuations reach.
    before: rest.max_length,
    endTokens: [eos_token_id ?? []].flat(),
    forbidden: suppress_tokens,
    noRepeat: no_repeat_ngram_size,
  };
}

/** Runs look-up on sequences, a program for each setting. */
class Lookups {
  readonly #device: Device;
  readonly #history: State;
  readonly #loop = new State({ name: 'loop', shape: [loopStateWords], dtype: 'u32' });
  readonly #buffers: StateBuffers;
  readonly #programs = new Map<string, Promise<Program>>();

  constructor(device: Device, capacity: number) {
    this.#device = device;
    this.#history = new State({ name: 'history', shape: [capacity], dtype: 'u32' });
    this.#buffers = new StateBuffers(device, [this.#history, this.#loop]);
  }

  async propose(tokens: readonly number[], parameters: LookupParameters): Promise<number[]> {
    const options = lookupOptions(parameters);
    const key = JSON.stringify([options, parameters.num_output_tokens]);
    const known = this.#programs.get(key) ?? this.#compile(nGram(options), parameters.num_output_tokens + 1);
    this.#programs.set(key, known);
    const program = await known;
    const words = new Uint32Array(loopStateWords);
    words[loopWords.length] = tokens.length - 1;
    this.#buffers.write(this.#history, Uint32Array.from(tokens));
    this.#buffers.write(this.#loop, words);
    const commands = new Commands(this.#device).run(program, { states: this.#buffers });
    const reads = [commands.read(program, 'tokens'), commands.read(program, 'count')] as const;
    commands.submit();
    const [drafts, count] = await Promise.all(reads);
    return Array.from(drafts.subarray(1, count[0]));
  }

  #compile(drafter: Drafter, width: number): Promise<Program> {
    const graph = trace((traced) => {
      const length = traced.constant(Uint32Array.of(0));
      const round = { width, history: this.#history, loop: this.#loop, length } as unknown as Round;
      const tree = drafter.propose(round, drafter.state(this.#history.shape[0]!, { rollbackTokens: 0 }));
      traced.output('tokens', tree.tokens);
      traced.output('count', tree.count);
    });
    return compile(graph, { device: this.#device, name: 'lookup' });
  }

  destroy(): void {
    for (const program of this.#programs.values())
      program.then((compiled) => compiled.destroy()).catch(() => undefined);
    this.#buffers.destroy();
  }
}

async function runDifference(one: SpeculativeCase): Promise<string | undefined> {
  const runs = one.facts['runs'] as readonly LookupRun[];
  const model = await caseModel(one.beside('target-llama'));
  const capacityTokens = Math.max(...runs.map(({ prompt, max_new_tokens: most }) => prompt.length + most));
  const engine = await caseEngine(one.device, model, { capacityTokens });
  try {
    return await firstDifference(runs.entries(), async ([index, run]) => {
      const { prompt, prompt_lookup_num_tokens: drafts, max_matching_ngram_size: longest, max_new_tokens: most } = run;
      const { drafter, cut } = cutDrafter(nGram({ longest, prefer: 'earliest' }), engine.capacityTokens);
      using conversation = engine.open({ drafter });
      cut(conversation, drafts);
      const rounds = await runRounds(conversation, { prompt, maxTokens: most, width: drafts + 1 });
      return (
        listDifference(
          `run ${index}`,
          rounds.flatMap(({ tokens }) => tokens),
          run.tokens,
        ) ?? roundsDifference(`run ${index}`, rounds, run.rounds)
      );
    });
  } finally {
    engine.destroy();
  }
}
