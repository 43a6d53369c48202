/** Runs that end where the conversation is full, in the middle of a tree, and the bits that they leave in the caches. */
import type { Drafter, DrafterState, Verifier } from '@forerun/contracts';
import type { Engine, GenerateRequest, GenerationStatistics } from '@forerun/decoding';
import type { State } from '@forerun/tensor';

/** How a run goes. */
export interface FullRunOptions {
  readonly width: number;
  /** The engine's own without. */
  readonly verifier?: Verifier | undefined;
  readonly sampling?: GenerateRequest['sampling'] | undefined;
}

/** What a run left. */
export interface FullRun extends GenerationStatistics {
  readonly tokens: readonly number[];
  /** Words of the rows of kept tokens, of each of the model's states. */
  readonly cache: readonly Uint32Array[];
  /** The same of the drafter's own caches. */
  readonly drafterCache: readonly Uint32Array[];
}

/** Caches of a drafter's own layers: what has heads and a row a token. */
const cachesOf = (state: DrafterState | undefined) => state?.states.filter(({ shape }) => shape.length === 3) ?? [];

/** Runs of an engine behind one prompt. */
export function fullRuns(engine: Engine, prompt: readonly number[]) {
  // The last token is never fed.
  const keptRows = engine.capacityTokens - 1;

  const bits = (read: (state: State) => Promise<ArrayBufferView>, states: readonly State[]) =>
    Promise.all(
      states.map(async (state) => {
        const { buffer, byteOffset } = await read(state);
        return new Uint32Array(buffer, byteOffset, keptRows * (state.byteLength / state.shape[0]! / 4));
      }),
    );

  return {
    /** Generates until the conversation is full. */
    async run(drafter: Drafter | undefined, options: FullRunOptions): Promise<FullRun> {
      const { width, sampling, verifier } = options;
      const conversation = engine.open({ ...(drafter && { drafter }), ...(verifier && { verifier }) });
      for await (const { tokens } of conversation.generate({ prompt, width, ...(sampling && { sampling }) })) {
        if (tokens.length === 0) throw new Error('A round gave no token.');
      }
      const read = (state: State) => conversation.states.read(state);
      const result: FullRun = {
        ...conversation.statistics!,
        tokens: [...conversation.tokens],
        cache: await bits(read, engine.state.states),
        drafterCache: drafter ? await bits(read, cachesOf(engine.speculation(drafter, verifier).drafterState)) : [],
      };
      conversation.close();
      if (result.tokens.length !== engine.capacityTokens) throw new Error('The conversation did not become full.');
      return result;
    },

    /** State and row of every kept row that differs between two caches. */
    differingRows(a: readonly Uint32Array[], b: readonly Uint32Array[]): string[] {
      if (a.length !== b.length) throw new Error(`Expected ${b.length} states, got ${a.length}.`);
      return a.flatMap((words, state) => {
        const rowWords = words.length / keptRows;
        const rowOf = (all: Uint32Array, row: number) => all.subarray(row * rowWords, (row + 1) * rowWords);
        const same = (row: number) => rowOf(words, row).every((word, i) => word === rowOf(b[state]!, row)[i]);
        const rows = Array.from({ length: keptRows }, (_, row) => row);
        return rows.filter((row) => !same(row)).map((row) => `state ${state}, row ${row}`);
      });
    },
  };
}
