import type { Noise, Purpose } from '@forerun/contracts';
import type { State } from '@forerun/tensor';
import { gumbelNoise, uniformNoise } from '@forerun/tensor';

/** Stream of the noise for each purpose; 0 is the one that `sample` draws from by default. */
export const purposeStream: Readonly<Record<Purpose, number>> = { target: 0, draft: 1, accept: 2, residual: 3 };

const made = new WeakSet<Noise>();

/** Noise by Philox 4x32-10, keyed by the seed in `settings` (`[16]` u32, the contracts' `Sampling`). */
export function philoxNoise(settings: State): Noise {
  const noise: Noise = {
    gumbel: (positions, vocabSize, purpose) =>
      gumbelNoise(positions, { settings, vocabSize, stream: purposeStream[purpose] }),
    uniform: (positions, index, purpose) =>
      uniformNoise(positions, index, { settings, stream: purposeStream[purpose] }),
  };
  made.add(noise);
  return noise;
}

/** Whether {@link philoxNoise} made it: its noise for the purpose `target` is what `sample` draws from. */
export function isPhilox(noise: Noise): boolean {
  return made.has(noise);
}
