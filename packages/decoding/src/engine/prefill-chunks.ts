import type { Engine } from './engine.ts';
import { startWords, timeProgram } from './measure.ts';

/** Sizes that a prefill pass may have. */
export const prefillChunks = [512, 256, 128, 64, 32, 16] as const;
/** Longest that one submit may hold the GPU of a page. */
const submitMs = 50;

/**
 * Sizes of prefill passes on this device, largest first: the largest that stays under 50 ms, and smaller ones for the tail of a
 * prompt. Decided once when a model is loaded, so that equal prompts are always cut alike.
 */
export async function choosePrefillChunks(engine: Engine): Promise<readonly number[]> {
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
  // Larger passes are at least as efficient a token, so a straight line is an upper estimate.
  let largest = smallest as number;
  for (const chunk of usable) {
    const predictedMs = (smallestMs * chunk) / smallest / 4;
    if (chunk <= smallest || predictedMs > submitMs) continue;
    if ((await measure(chunk)) <= submitMs) {
      largest = chunk;
      break;
    }
  }
  return usable.filter(
    (chunk) => chunk <= largest && (chunk === largest || chunk === smallest || largest / chunk === 4),
  );
}
