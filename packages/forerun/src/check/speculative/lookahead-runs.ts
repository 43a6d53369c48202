/** Recorded runs of lookahead decoding, followed round by round with the loop's own programs. */
import { loopWords, type Round } from '@forerun/contracts';
import { type Conversation, type Engine, widthClasses } from '@forerun/decoding';
import { lookahead, type LookaheadDrafter, type LookaheadState } from '@forerun/drafters';
import { Commands, compile, type HostArray, type Program, trace } from '@forerun/tensor';
import type { CaseModel } from './case-model.ts';
import { caseEngine } from './case-runs.ts';
import { poolDifference, poolWords, type RecordedPool, withColumns, withNGram, withText } from './lookahead-pool.ts';
import { firstDifference, listDifference, rowsOf, type SpeculativeCase } from './speculative-case.ts';

/** N-grams of a token that are kept where published code sets no limit. */
const unlimited = 64;

interface LookaheadStep {
  /** Rows of the window; null for those that are not there yet. */
  readonly window: readonly (readonly number[] | null)[];
  /** N-grams without their first token, one after the other. */
  readonly guesses: readonly number[] | null;
  readonly fed_tokens: readonly number[];
  readonly positions: readonly number[];
  readonly window_results: readonly number[];
  readonly pool_after_update?: RecordedPool;
  readonly emitted: readonly number[];
}

/** A run of a case. */
export interface LookaheadRun {
  readonly LEVEL: number;
  readonly WINDOW_SIZE: number;
  readonly GUESS_SET_SIZE: number;
  readonly POOL_FROM_PROMPT: number;
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  readonly initial_window: readonly number[];
  readonly steps: readonly LookaheadStep[];
}

interface RunSetting {
  readonly one: SpeculativeCase;
  readonly model: CaseModel;
  /** Name of the recorded mask of a step. */
  readonly mask: (step: number) => string;
}

/** A run on the device, and what the recorded run's pool holds at this point. */
interface Following {
  readonly run: LookaheadRun;
  readonly engine: Engine;
  readonly drafter: LookaheadDrafter;
  readonly state: LookaheadState;
  readonly conversation: Conversation;
  readonly proposal: Program;
  readonly width: number;
  readonly guesses: number;
}

/** What differs between a recorded run and the same one on the device. */
export async function runDifference(what: string, setting: RunSetting, run: LookaheadRun): Promise<string | undefined> {
  const { one, model } = setting;
  const { LEVEL: ngram, WINDOW_SIZE: window, GUESS_SET_SIZE: most, POOL_FROM_PROMPT: fromPrompt } = run;
  const guesses = most < 0 ? unlimited : most;
  const drafter = lookahead({
    vocabSize: model.decoder.vocabSize,
    window,
    ngram,
    guesses,
    // The published code counts at most this many tokens of an n-gram as accepted.
    verified: ngram - 2,
    fromText: fromPrompt !== 0,
  });
  const tried = Math.max(0, ...run.steps.map((step) => (step.guesses?.length ?? 0) / (ngram - 1)));
  const needed = drafter.windowWidth + tried * (ngram - 2);
  const width = widthClasses.find((rows) => rows >= needed);
  if (width === undefined) return `${what}: needs ${needed} rows, at most ${widthClasses.at(-1)} are possible`;
  const capacityTokens = run.prompt.length + run.tokens.length + ngram + 2;
  const engine = await caseEngine(one.device, model, { capacityTokens });
  const conversation = engine.open({ drafter });
  const state = engine.speculation(drafter).drafterState as LookaheadState;
  const proposal = await traceProposal(engine, { drafter, state, width });
  const following: Following = { run, engine, drafter, state, conversation, proposal, width, guesses };
  try {
    return (await stepsDifference(what, following, setting)) ?? (await freeDifference(what, following));
  } finally {
    proposal.destroy();
    conversation.close();
    engine.destroy();
  }
}

/** The drafter's part of a round alone, for a look at its rows. */
function traceProposal(
  engine: Engine,
  { drafter, state, width }: Pick<Following, 'drafter' | 'state' | 'width'>,
): Promise<Program> {
  const { loop, history } = engine.loop;
  const graph = trace((traced) => {
    const length = traced.constant(Uint32Array.of(0));
    const tree = drafter.propose({ width, loop, history, length } as unknown as Round, state);
    const { tokens, parents, depths, count, candidates } = tree;
    const all = { tokens, parents: parents!, depths: depths!, count, candidates: candidates! };
    for (const [name, tensor] of Object.entries(all)) traced.output(name, tensor);
  });
  return compile(graph, { device: engine.device, name: 'proposal' });
}

/** Prefills the prompt and puts everything where the run begins. */
async function begin({ run, engine, drafter, state, conversation }: Following): Promise<void> {
  const { device, loop } = engine;
  const { prompt } = run;
  const words = new Uint32Array(loop.loop.shape[0]!);
  words[loopWords.anchor] = prompt.at(-1)!;
  words[loopWords.budget] = 2 ** 31;
  words[loopWords.promptLength] = prompt.length;
  words[loopWords.capacity] = engine.capacityTokens;
  words[loopWords.prefillEnd] = prompt.length - 1;
  conversation.states.write(loop.loop, words);
  conversation.states.write(loop.history, Uint32Array.from(prompt));
  const [chunk] = engine.chunkTokens as [number];
  const prefill = await engine.speculation(drafter).prefill(chunk);
  for (let at = 0; at < prompt.length - 1; at += chunk) {
    new Commands(device).run(prefill, { states: conversation.states, bound: at + chunk }).submit();
  }
  const window = new Uint32Array(state.window.shape[0]!);
  window.set(run.initial_window);
  window[window.length - 1] = 1;
  conversation.states.write(state.window, window);
}

/**
 * Follows the run. The published code puts other n-grams than those of the text into its pool after several tokens were accepted (the last
 * one of them, repeated); the device's pool is held to the right ones, and then gets the recorded ones, so that the next round can be held.
 */
async function stepsDifference(what: string, following: Following, setting: RunSetting): Promise<string | undefined> {
  const { run, engine, state, conversation, guesses } = following;
  const { LEVEL: ngram, prompt } = run;
  const stride = state.pool.shape[1]!;
  await begin(following);
  const ordered = run.GUESS_SET_SIZE >= 0;
  const words = async () => ({ words: await conversation.states.read(state.pool), stride, ngram, ordered });
  let pool: RecordedPool = run.POOL_FROM_PROMPT === 0 ? {} : withText({}, prompt, { ngram, guesses });
  let published = [...prompt];
  const text = [...prompt];
  const filled = poolDifference(`${what}, pool of the prompt`, await words(), pool);
  if (filled !== undefined) return filled;
  let index = 0;
  return firstDifference(run.steps, async (step) => {
    const name = `${what}, step ${index}`;
    const length = text.length - 1;
    const rows = await rowsDifference(name, { following, step, length, mask: await maskOf(setting, index) });
    if (rows !== undefined) return rows;
    const round = await conversation.program(following.width);
    const commands = new Commands(engine.device).run(round, {
      states: conversation.states,
      bound: length + following.width,
    });
    commands.submit();
    const loop = await conversation.states.read(engine.loop.loop);
    const history = await conversation.states.read(engine.loop.history);
    const emitted = Array.from(history.subarray(length + 1, loop[loopWords.length]! + 1));
    // The last step of a run is cut at its limit.
    const last = ++index === run.steps.length;
    const difference = listDifference(
      `${name}, tokens`,
      last ? emitted.slice(0, step.emitted.length) : emitted,
      step.emitted,
    );
    if (difference !== undefined || last) return difference;
    const window = step.window.flatMap((row) => (row ? [row] : []));
    const columns = { anchor: text.at(-1)!, rows: window, results: step.window_results };
    const full = window.length === step.window.length;
    // Only the first pools are recorded; the later ones follow from what is.
    const after = step.pool_after_update ?? (full ? withColumns(pool, columns, guesses) : pool);
    text.push(...emitted);
    let own = after;
    pool = after;
    if (run.POOL_FROM_PROMPT !== 0) {
      for (let kept = emitted.length - 1; kept >= 0; kept--) {
        own = withText(own, text.slice(0, text.length - kept).slice(-ngram), { ngram, guesses });
        published = [...published, emitted.at(-1)!];
        if (published.length >= ngram) pool = withNGram(pool, published.slice(-ngram), guesses);
      }
    }
    const differing =
      windowDifference(name, await conversation.states.read(state.window), run.steps[index]!) ??
      poolDifference(`${name}, pool`, await words(), own);
    conversation.states.write(state.pool, poolWords(pool, state.pool.shape as [number, number]));
    return differing;
  });
}

async function maskOf({ one, mask }: RunSetting, step: number): Promise<Float64Array[] | undefined> {
  return one.has(mask(step)) ? rowsOf(await one.tensor(mask(step))) : undefined;
}

/** What differs in the rows that the target is to run over: the window with its positions and mask, and the guesses. */
async function rowsDifference(
  name: string,
  given: { following: Following; step: LookaheadStep; length: number; mask: Float64Array[] | undefined },
): Promise<string | undefined> {
  const { following, step, length, mask } = given;
  const { engine, conversation, proposal, run } = following;
  const commands = new Commands(engine.device).run(proposal, { states: conversation.states });
  const reads = ['tokens', 'parents', 'depths', 'count', 'candidates'].map((output) => commands.read(proposal, output));
  commands.submit();
  const [tokens, parents, depths, count, candidates] = (await Promise.all(reads)) as [
    HostArray,
    HostArray,
    HostArray,
    HostArray,
    HostArray,
  ];
  const first = candidates[0]!;
  const window = Array.from(tokens.subarray(first, count[0]));
  const recorded = step.window.flatMap((row) => row ?? []);
  // What the first pass feeds besides, the prompt, is in the cache by then.
  const cached = step.fed_tokens.length - 1 - recorded.length - (step.guesses?.length ?? 0);
  const behind = step.positions.slice(cached + 1);
  const guessed = new Set<string>();
  const tuple = run.LEVEL - 1;
  for (let at = 0; at < (step.guesses?.length ?? 0); at += tuple) {
    for (let size = 1; size < tuple; size++) guessed.add(step.guesses!.slice(at, at + size).join(' '));
  }
  const paths = [''];
  for (let row = 1; row < first; row++) paths.push(`${paths[parents[row]!]!} ${tokens[row]}`.trim());
  return (
    listDifference(`${name}, anchor`, [tokens[0]!], [step.fed_tokens[cached]!]) ??
    listDifference(`${name}, window`, window, recorded) ??
    listDifference(
      `${name}, positions of the window`,
      Array.from(depths.subarray(first, count[0]), (depth) => length + depth),
      behind.slice(0, recorded.length),
    ) ??
    (paths.slice(1).sort().join() === [...guessed].sort().join()
      ? undefined
      : `${name}, guesses: got ${paths.slice(1).join(', ')}, expected ${[...guessed].join(', ')}`) ??
    (mask
      ? maskDifference(name, { mask: mask.slice(cached + 1), parents, first, rows: window.length, length })
      : undefined)
  );
}

/** What differs in what the rows of the window may attend to: the text, the anchor, and their ancestors in the window. */
function maskDifference(
  name: string,
  given: { mask: Float64Array[]; parents: HostArray; first: number; rows: number; length: number },
): string | undefined {
  const { mask, parents, first, rows, length } = given;
  for (let row = 0; row < rows; row++) {
    const allowed = mask[row]!.map((_, column) => (column <= length ? 1 : 0));
    for (let at = first + row; at > 0; at = parents[at]!) allowed[length + 1 + at - first] = 1;
    const difference = listDifference(
      `${name}, mask of row ${row} of the window`,
      Array.from(allowed),
      Array.from(mask[row]!),
    );
    if (difference !== undefined) return difference;
  }
  return undefined;
}

/** What differs between the window after a step and the one that the next step is recorded with. */
function windowDifference(name: string, words: HostArray, next: LookaheadStep): string | undefined {
  const filled = words.at(-1)!;
  const columns = (words.length - 1) / next.window.length;
  const rows = next.window.flatMap((row) => (row ? [row] : []));
  return (
    listDifference(`${name}, rows of the window`, [filled], [rows.length]) ??
    rows
      .map((row, level) => {
        const got = Array.from(words.subarray(level * columns, level * columns + row.length));
        return listDifference(`${name}, row ${level} of the window after it`, got, row);
      })
      .find((difference) => difference !== undefined)
  );
}

/** What differs in a run of the loop by itself, with rounds in flight: tokens, which are plain greedy decoding's. */
async function freeDifference(what: string, { run, engine, drafter, width }: Following): Promise<string | undefined> {
  const conversation = engine.open({ drafter });
  try {
    const request = { prompt: run.prompt, maxTokens: run.tokens.length, width };
    for await (const step of conversation.generate(request)) void step;
    const tokens = conversation.tokens.slice(run.prompt.length);
    return listDifference(`${what}, tokens of a run by itself`, tokens, run.tokens);
  } finally {
    conversation.close();
  }
}
