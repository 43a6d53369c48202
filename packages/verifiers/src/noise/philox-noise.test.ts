import { argmax, packSampling, sample, State } from '@forerun/tensor';
import { hold, testDevice } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { philoxNoise } from './philox-noise.ts';

const device = await testDevice();
const settings = new State({ name: 'settings', shape: [16], dtype: 'u32' });
const counts = new State({ name: 'counts', shape: [2, 50], dtype: 'u32' });
const noise = philoxNoise(settings);

describe('philoxNoise', () => {
  it("is the noise that `sample` draws from under the purpose 'target'", async () => {
    const positions = [0, 1, 2, 3, 1000, 2 ** 31];
    const { outputs } = await hold(device, {
      inputs: {
        logits: { shape: [6, 50] },
        positions: { shape: [6], dtype: 'u32', data: positions },
      },
      body: ({ logits, positions }) => ({
        sampled: sample(logits, { settings, counts, positions }),
        summed: argmax(logits.add(noise.gumbel(positions, 50, 'target'))),
        other: argmax(logits.add(noise.gumbel(positions, 50, 'residual'))),
      }),
      states: new Map<State, ArrayLike<number>>([
        [settings, packSampling({ temperature: 1, seed: 12 })],
        [counts, new Uint32Array(100)],
      ]),
      tolerance: 0,
    });
    expect(outputs.summed).toEqual(outputs.sampled);
    expect(outputs.other).not.toEqual(outputs.sampled);
  });

  it('gives every purpose its own uniforms', async () => {
    const column = { shape: [3], dtype: 'u32', data: [5, 5, 6] } as const;
    const { outputs } = await hold(device, {
      inputs: { positions: column, index: { ...column, data: [0, 1, 0] } },
      body: ({ positions, index }) => ({
        accept: noise.uniform(positions, index, 'accept'),
        draft: noise.uniform(positions, index, 'draft'),
      }),
      states: new Map([[settings, packSampling({ seed: 12 })]]),
      tolerance: 0,
    });
    expect(new Set([...outputs.accept!, ...outputs.draft!]).size).toBe(6);
  });
});
