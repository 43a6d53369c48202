import { loopWords } from '@forerun/contracts';
import type { Program, StateBuffers } from '@forerun/tensor';
import { Commands } from '@forerun/tensor';
import { loopLayout } from '../loop/loop-states.ts';
import type { Engine } from './engine.ts';
import { greedySettings, settingsWords } from './sampling-settings.ts';
import type { Speculation } from './speculation.ts';

/** Words of a loop state at the start of a run. */
export function startWords(
  values: Partial<Record<keyof typeof loopWords, number>>,
  stopTokens: readonly number[] = [],
) {
  const words = new Uint32Array(loopLayout.words);
  for (const [name, value] of Object.entries(values)) words[loopWords[name as keyof typeof loopWords]] = value;
  words[loopLayout.stopCount] = stopTokens.length;
  words.set(stopTokens, loopLayout.stops);
  return words;
}

/** Tokens in the cache of a measured round. */
const measuredLength = 64;

/** Best of two timed submits of `program`, in ms of wall time per run. */
export async function timeProgram(
  engine: Engine,
  program: Program,
  options: { states: StateBuffers; words: Uint32Array<ArrayBuffer>; runs: number },
): Promise<number> {
  let best = Infinity;
  for (let trial = 0; trial < 3; trial++) {
    options.states.write(engine.loop.loop, options.words);
    await engine.device.idle();
    const start = performance.now();
    const commands = new Commands(engine.device);
    for (let run = 0; run < options.runs; run++) {
      commands.run(program, {
        states: options.states,
        bound: engine.capacityTokens < 256 ? engine.capacityTokens : 256,
      });
    }
    commands.submit();
    await engine.device.idle();
    // The first trial also pays for bind groups and first use of the pipelines.
    if (trial > 0) best = Math.min(best, (performance.now() - start) / options.runs);
  }
  return best;
}

/** Milliseconds of a round, on a conversation made for it. */
export async function measureRound(engine: Engine, speculation: Speculation, program: Program): Promise<number> {
  const states = speculation.allocate();
  try {
    const length = Math.min(measuredLength, Math.floor(engine.capacityTokens / 2));
    states.write(engine.loop.sampling.settings, settingsWords(greedySettings));
    return await timeProgram(engine, program, {
      states,
      words: startWords({ length, budget: 2 ** 31, promptLength: length }),
      runs: engine.device.adapter.kind === 'hardware' ? 4 : 1,
    });
  } finally {
    states.destroy();
  }
}
