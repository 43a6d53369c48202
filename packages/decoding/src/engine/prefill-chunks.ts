import { Commands, type Program, type StateBuffers } from '@forerun/tensor';
import type { Engine } from './engine.ts';
import { startWords, timeProgram } from './measure.ts';

/** Sizes that a prefill pass may have. */
export const prefillChunks = [512, 256, 128, 64, 32, 16] as const;
/** Longest that one submit may hold the GPU of a page, in ms. */
const submitMs = 50;
/** Most submits of a pass: an abort waits for all of them. */
const mostSubmits = 4;

/** A size of prefill pass. */
export interface PrefillPass {
  /** Tokens that it takes; fewer at the end of a prompt. */
  readonly tokens: number;
  /** What it takes on the device, in ms; where nothing was measured, in proportion to the tokens. */
  readonly ms: number;
  /** Submits that it is spread over, so that none holds the GPU for long. */
  readonly submits: number;
}

/** Passes of given sizes, largest first, each one submit. */
export const passesOf = (sizes: readonly number[]): readonly PrefillPass[] =>
  [...sizes].sort((a, b) => b - a).map((tokens) => ({ tokens, ms: tokens, submits: 1 }));

/**
 * Sizes of prefill passes on this device, largest first: the largest that takes no more than four submits of 50 ms, and smaller ones for
 * the tail of a prompt. Decided once when a model is loaded, so that equal prompts are always cut alike.
 */
export async function choosePrefillPasses(engine: Engine): Promise<readonly PrefillPass[]> {
  const usable = prefillChunks.filter((chunk) => chunk <= Math.max(16, engine.capacityTokens));
  const measure = async (chunk: number): Promise<number> => {
    const plain = engine.speculation(undefined);
    const states = plain.allocate();
    try {
      const words = startWords({ length: 0, prefillEnd: Math.min(chunk, engine.capacityTokens - 1) });
      return (await timeProgram(engine, await plain.prefill(chunk), { states, words, runs: 1 })).wallMs;
    } finally {
      states.destroy();
    }
  };
  const smallest = usable.at(-1)!;
  const smallestMs = await measure(smallest);
  const passOf = (tokens: number, ms: number): PrefillPass => ({ tokens, ms, submits: Math.ceil(ms / submitMs) });
  // Larger passes are at least as efficient a token, so a straight line is an upper estimate.
  let largest = passOf(smallest, smallestMs);
  for (const chunk of usable) {
    const predictedMs = (smallestMs * chunk) / smallest / 4;
    if (chunk <= smallest || predictedMs > mostSubmits * submitMs) continue;
    const ms = await measure(chunk);
    if (ms <= mostSubmits * submitMs) {
      largest = passOf(chunk, ms);
      break;
    }
  }
  const quarter = largest.tokens / 4;
  const share = (quarter - smallest) / (largest.tokens - smallest);
  return [
    largest,
    ...(quarter > smallest ? [passOf(quarter, smallestMs + share * (largest.ms - smallestMs))] : []),
    ...(largest.tokens > smallest ? [passOf(smallest, smallestMs)] : []),
  ];
}

/** The pass that takes on `left` tokens of a prompt: the one that costs least for each of them, the larger where two do. */
export function nextPass(passes: readonly PrefillPass[], left: number): PrefillPass {
  const cost = ({ tokens, ms }: PrefillPass) => ms / Math.min(tokens, left);
  return passes.reduce((best, pass) => (cost(pass) < cost(best) ? pass : best));
}

/**
 * Submits a pass but for its last part, which the caller adds to and submits.
 * @param options.program - The program of the pass.
 */
export function submitPass(
  engine: Engine,
  { submits }: PrefillPass,
  options: { readonly program: Program; readonly states: StateBuffers; readonly bound: number },
): Commands {
  const { program, ...run } = options;
  const part = (index: number) => new Commands(engine.device).run(program, { ...run, part: { index, of: submits } });
  for (let index = 0; index < submits - 1; index++) part(index).submit();
  return part(submits - 1);
}
