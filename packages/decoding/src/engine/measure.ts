import { loopWords } from '@forerun/contracts';
import type { Program, StateBuffers } from '@forerun/tensor';
import { Commands, packSampling, steadyClock } from '@forerun/tensor';
import { loopLayout } from '../loop/loop-states.ts';
import type { Engine } from './engine.ts';
import { greedySettings } from './sampling-settings.ts';
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

/** How long a run of a program takes. */
export interface RunTime {
  /** Wall time of a run when `runs` are submitted together, in ms. */
  readonly wallMs: number;
  /** Time that the GPU spent in it, in ms; undefined where the device has no timestamps. */
  readonly gpuMs: number | undefined;
  /** Time that the host took to encode and submit a run, in ms. */
  readonly encodeMs: number;
}

/** How a program is timed. */
export interface TimingOptions {
  readonly states: StateBuffers;
  /** Loop state that every trial starts from. */
  readonly words: Uint32Array<ArrayBuffer>;
  /** Runs of a submit. */
  readonly runs: number;
  /** Timed submits after the first, which pays for bind groups and first use of pipelines. */
  readonly trials?: number;
  /** Context bound of the runs, in tokens. */
  readonly bound?: number;
}

/** Times submits of `runs` runs each and returns the best of every figure. */
export async function timeProgram(engine: Engine, program: Program, options: TimingOptions): Promise<RunTime> {
  const { device } = engine;
  const { states, words, runs, trials = 2, bound = Math.min(engine.capacityTokens, 256) } = options;
  const timed = device.has('timestamp-query');
  let best: RunTime | undefined;
  for (let trial = 0; trial <= trials; trial++) {
    states.write(engine.loop.loop, words);
    await steadyClock(device);
    await device.idle();
    const start = performance.now();
    const commands = new Commands(device, { timed });
    for (let run = 0; run < runs; run++) commands.run(program, { states, bound });
    const gpu = timed ? commands.gpuMs() : Promise.resolve(undefined);
    commands.submit();
    const encodeMs = (performance.now() - start) / runs;
    await device.idle();
    const wallMs = (performance.now() - start) / runs;
    const total = await gpu;
    if (trial === 0) continue;
    const gpuMs = total === undefined ? undefined : total / runs;
    best = {
      wallMs: Math.min(wallMs, best?.wallMs ?? Infinity),
      gpuMs: gpuMs === undefined ? undefined : Math.min(gpuMs, best?.gpuMs ?? Infinity),
      encodeMs: Math.min(encodeMs, best?.encodeMs ?? Infinity),
    };
  }
  return best!;
}

/** Milliseconds of a round, on a conversation made for it. */
export async function measureRound(engine: Engine, speculation: Speculation, program: Program): Promise<number> {
  const states = speculation.allocate();
  try {
    const length = Math.min(measuredLength, Math.floor(engine.capacityTokens / 2));
    states.write(engine.loop.sampling.settings, packSampling(greedySettings));
    const { wallMs, gpuMs, encodeMs } = await timeProgram(engine, program, {
      states,
      words: startWords({ length, budget: 2 ** 31, promptLength: length }),
      runs: engine.device.adapter.kind === 'hardware' ? 4 : 1,
    });
    // With rounds in flight the slower of host and GPU decides, and what else runs on the GPU at this moment is not counted.
    return gpuMs === undefined ? wallMs : Math.max(gpuMs, encodeMs);
  } finally {
    states.destroy();
  }
}
