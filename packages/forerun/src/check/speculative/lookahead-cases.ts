/** Cases of lookahead decoding: operations on its pool, and runs, round by round. */
import { loopStateWords, loopWords, type Round, type TargetOutputs, type TokenTree } from '@forerun/contracts';
import { insertNGrams, lookahead } from '@forerun/drafters';
import { Commands, compile, type Device, type Graph, type Program, State, StateBuffers, trace } from '@forerun/tensor';
import { caseModel } from './case-model.ts';
import { type LookaheadRun, runDifference } from './lookahead-runs.ts';
import { mostGuesses, poolDifference, type RecordedPool } from './lookahead-pool.ts';
import { firstDifference, type SpeculativeCase } from './speculative-case.ts';

interface PoolOperation {
  readonly op: 'fill_pool_with_prompt' | 'update_token_map' | 'append_new_generated_pool';
  readonly prompt?: readonly number[];
  readonly last_token?: number;
  readonly past_tokens?: readonly (readonly number[])[];
  readonly new_results?: readonly number[];
  readonly tokens?: readonly number[];
  readonly pool: RecordedPool;
}

interface PoolInstance {
  readonly LEVEL: number;
  readonly WINDOW_SIZE: number;
  /** -1: no limit. */
  readonly GUESS_SET_SIZE: number;
  readonly sequence: readonly PoolOperation[];
}

/** Operations on the pool, then runs with every round's window, guesses, results and pool. */
export async function lookaheadCase(one: SpeculativeCase): Promise<string | undefined> {
  let index = 0;
  const instances = one.facts['pool_operations'] as readonly PoolInstance[];
  const difference = await firstDifference(instances, (instance) =>
    poolInstanceDifference(`pool ${index++}`, one.device, instance),
  );
  if (difference !== undefined) return difference;
  const model = await caseModel(one.beside('target-llama'));
  index = 0;
  return firstDifference(one.facts['runs'] as readonly LookaheadRun[], (run) =>
    runDifference(`run ${index}`, { one, model, mask: (step) => `run${index}.step${step}.mask` }, run).finally(
      () => index++,
    ),
  );
}

async function poolInstanceDifference(
  what: string,
  device: Device,
  instance: PoolInstance,
): Promise<string | undefined> {
  const { LEVEL: ngram, WINDOW_SIZE: window, GUESS_SET_SIZE: most, sequence } = instance;
  const guesses = most < 0 ? mostGuesses(sequence.map(({ pool }) => pool)) : most;
  const capacity = Math.max(ngram, ...sequence.map(({ prompt }) => prompt?.length ?? 0));
  const tokens = sequence.flatMap((one) => [
    ...(one.prompt ?? one.tokens ?? []),
    ...(one.past_tokens ?? []).flat(),
    ...(one.new_results ?? []),
    one.last_token ?? 0,
  ]);
  const sizes = { vocabSize: Math.max(...tokens) + 1, window, ngram, guesses };
  const text = lookahead({ ...sizes, fromText: true });
  const columns = lookahead({ ...sizes, fromText: false });
  const state = text.state();
  const history = new State({ name: 'history', shape: [capacity], dtype: 'u32' });
  const loop = new State({ name: 'loop', shape: [loopStateWords], dtype: 'u32' });
  const buffers = new StateBuffers(device, [...state.states, history, loop]);

  /** What an operation is in the drafter, over inputs that the host writes. */
  const pieces: Readonly<Record<PoolOperation['op'], (graph: Graph) => void>> = {
    fill_pool_with_prompt(graph) {
      const scalar = (name: string) => graph.input(name, [1], 'u32');
      const rows = {
        inputs: graph.constant(new Uint32Array(capacity)),
        length: scalar('length'),
        count: scalar('count'),
      };
      text.prefill({ rows } as unknown as TargetOutputs, state, { history, loop });
    },
    update_token_map(graph) {
      const width = columns.windowWidth;
      const tree = { tokens: graph.input('tokens', [width], 'u32'), candidates: graph.constant(Uint32Array.of(1)) };
      const round = { width, history, loop, length: graph.constant(Uint32Array.of(0)) } as unknown as Round;
      const outcome = {
        tree: tree as unknown as TokenTree,
        target: { topTokens: graph.input('top', [width, 1], 'u32') } as unknown as TargetOutputs,
        accepted: { path: tree.candidates, count: tree.candidates, next: tree.candidates },
      };
      columns.absorb(round, outcome, state);
    },
    append_new_generated_pool(graph) {
      insertNGrams(state.pool, graph.input('entry', [1, ngram], 'u32'), { ngram, guesses });
    },
  };
  const write: Readonly<Record<PoolOperation['op'], (program: Program, one: PoolOperation) => void>> = {
    fill_pool_with_prompt(program, { prompt = [] }) {
      const words = new Uint32Array(loopStateWords);
      words[loopWords.prefillEnd] = prompt.length - 1;
      buffers.write(history, Uint32Array.from(prompt));
      buffers.write(loop, words);
      program.write('length', Uint32Array.of(0));
      program.write('count', Uint32Array.of(prompt.length - 1));
    },
    update_token_map(program, { last_token = 0, past_tokens = [], new_results = [] }) {
      buffers.write(state.window, packWindow(past_tokens, state.window.shape[0]!));
      const rows = new Uint32Array(columns.windowWidth);
      rows.set(new_results, 1 + past_tokens.slice(0, -1).flat().length);
      program.write('top', rows);
      const fed = new Uint32Array(columns.windowWidth);
      fed.set([last_token, ...past_tokens.flat()]);
      program.write('tokens', fed);
    },
    append_new_generated_pool: (program, one) => program.write('entry', Uint32Array.from(one.tokens ?? [])),
  };
  const programs = new Map<string, Program>();
  let index = 0;
  try {
    return await firstDifference(sequence, async (one) => {
      const name = `${what}, operation ${index++} (${one.op})`;
      if (!(one.op in pieces)) return `${name}: not known`;
      // Published code passes over what is shorter than an n-gram.
      if (one.op !== 'append_new_generated_pool' || one.tokens?.length === ngram) {
        const program = programs.get(one.op) ?? (await compile(trace(pieces[one.op]), { device, name: one.op }));
        programs.set(one.op, program);
        write[one.op](program, one);
        new Commands(device).run(program, { states: buffers }).submit();
      }
      const words = await buffers.read(state.pool);
      return poolDifference(name, { words, stride: state.pool.shape[1]!, ngram, ordered: most >= 0 }, one.pool);
    });
  } finally {
    for (const program of programs.values()) program.destroy();
    buffers.destroy();
  }
}

/** Words of the drafter's window: its rows side by side, each as wide as the first can be, then how many there are. */
function packWindow(rows: readonly (readonly number[])[], words: number): Uint32Array<ArrayBuffer> {
  const packed = new Uint32Array(words);
  rows.forEach((row, level) => packed.set(row, level * ((words - 1) / rows.length)));
  packed[words - 1] = rows.length;
  return packed;
}
