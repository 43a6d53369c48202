import type { Engine } from '@forerun/decoding';
import { Commands } from '@forerun/tensor';
import { median } from './median.ts';

/** From a submit to bytes that the host can read, in ms. */
export interface ReadbackTime {
  readonly median_ms: number;
  readonly least_ms: number;
  readonly trials: number;
}

/** Reads back the few words of the loop's state from a device that has nothing else to do: what a round costs whose answer is waited for. */
export async function timeReadback(engine: Engine, trials: number): Promise<ReadbackTime> {
  const { device, loop } = engine;
  const stretch = { state: loop.loop, begin: 0, end: loop.loop.byteLength / 4 };
  const states = engine.allocate([]);
  const times: number[] = [];
  try {
    // The first one makes the staging buffer.
    for (let trial = 0; trial <= trials; trial++) {
      await device.idle();
      const commands = new Commands(device);
      const read = commands.readStates(states, [stretch]);
      const start = performance.now();
      commands.submit();
      await read;
      if (trial > 0) times.push(performance.now() - start);
    }
  } finally {
    states.destroy();
  }
  return { median_ms: median(times), least_ms: Math.min(...times), trials };
}
