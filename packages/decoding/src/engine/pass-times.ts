import type { Explanation } from '@forerun/tensor';
import { explain, packSampling, profile, steadyClock } from '@forerun/tensor';
import type { Engine } from './engine.ts';
import type { RunTime } from './measure.ts';
import { startWords, timeProgram } from './measure.ts';
import { nextPass, submitPass } from './prefill-chunks.ts';
import { greedySettings } from './sampling-settings.ts';
import { traceProbe } from './width-check.ts';

/** What a pass of the target takes at a width, and what it is made of. */
export interface PassTime extends RunTime {
  readonly dispatches: number;
}

/** Where and how often passes are timed. */
export interface PassTimingOptions {
  /** Tokens in the cache. */
  readonly length: number;
  readonly runs?: number;
  readonly trials?: number;
}

/** Times forward passes of `width` rows over `length` cached tokens, logits of every row included, sampling not. */
export async function timeForward(engine: Engine, width: number, options: PassTimingOptions): Promise<PassTime> {
  const program = await engine.compile(traceProbe(engine, width), `forward of ${width}`);
  const states = engine.allocate([]);
  try {
    program.write('tokens', new Uint32Array(width).fill(1));
    const { length, runs = 1, trials = 2 } = options;
    const words = startWords({ length });
    const time = await timeProgram(engine, program, { states, words, runs, trials, bound: length + width });
    return { ...time, dispatches: program.dispatches.length };
  } finally {
    states.destroy();
    engine.release(program);
  }
}

/** Explains a forward pass of `width` rows over `length` cached tokens, its dispatches with their times; see `profile`. */
export async function profileForward(
  engine: Engine,
  width: number,
  options: { readonly length: number; readonly repeats?: number },
): Promise<Explanation> {
  const program = await engine.compile(traceProbe(engine, width), `forward of ${width}`);
  const states = engine.allocate([]);
  try {
    program.write('tokens', new Uint32Array(width).fill(1));
    states.write(engine.loop.loop, startWords({ length: options.length }));
    const bound = options.length + width;
    const times = await profile(program, { states, bound, repeats: options.repeats ?? 5 });
    return explain(program, { bound, profile: times });
  } finally {
    states.destroy();
    engine.release(program);
  }
}

/** Times whole steps of plain decoding over `length` cached tokens, greedy choice and bookkeeping included. */
export async function timeStep(engine: Engine, options: PassTimingOptions): Promise<PassTime> {
  const plain = engine.speculation(undefined);
  const program = await plain.round(1);
  const states = plain.allocate();
  try {
    const { length, runs = 1, trials = 2 } = options;
    states.write(engine.loop.sampling.settings, packSampling(greedySettings));
    const words = startWords({ length, budget: 2 ** 31, promptLength: length });
    const time = await timeProgram(engine, program, { states, words, runs, trials, bound: length + runs });
    return { ...time, dispatches: program.dispatches.length };
  } finally {
    states.destroy();
  }
}

/** Times the prefill of `tokens` tokens into an empty cache, in the engine's own passes; wall time of the whole in ms. */
export async function timePrefill(engine: Engine, tokens: number): Promise<number> {
  const plain = engine.speculation(undefined);
  const states = plain.allocate();
  try {
    let best = Infinity;
    for (let trial = 0; trial < 3; trial++) {
      states.write(engine.loop.loop, startWords({ length: 0, prefillEnd: tokens }));
      await steadyClock(engine.device);
      const start = performance.now();
      for (let at = 0; at < tokens;) {
        const pass = nextPass(engine.prefillPasses, tokens - at);
        const program = await plain.prefill(pass.tokens);
        submitPass(engine, pass, { program, states, bound: at + pass.tokens }).submit();
        at += pass.tokens;
      }
      await engine.device.idle();
      // The first trial may compile.
      if (trial > 0) best = Math.min(best, performance.now() - start);
    }
    return best;
  } finally {
    states.destroy();
  }
}
