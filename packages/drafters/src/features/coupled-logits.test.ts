import type { Round } from '@forerun/contracts';
import { argmax, gumbelNoise, packSampling, sample, samplingWords, State } from '@forerun/tensor';
import { hold, randomSource, testDevice } from '@forerun/tensor/harness';
import { expect, it } from 'vitest';
import { coupledLogits } from './coupled-logits.ts';

const device = await testDevice();
const vocabSize = 37;
const settings = new State({ name: 'settings', shape: [samplingWords], dtype: 'u32' });
const counts = new State({ name: 'counts', shape: [2, vocabSize], dtype: 'u32' });

/** Chooses by coupled logits, and as the target would. */
async function both(temperature: number, own?: readonly number[]) {
  const random = randomSource(31);
  const depths = [1, 2, 3, 4, 5];
  const width = own?.length ?? vocabSize;
  const { outputs } = await hold(device, {
    inputs: {
      logits: {
        shape: [depths.length, width],
        data: Array.from({ length: depths.length * width }, () => random.normal()),
      },
      length: { shape: [1], dtype: 'u32', data: [100] },
    },
    body: ({ logits, length }, graph) => {
      const round = {
        length,
        decoder: { vocabSize },
        sampling: { settings, counts },
        noise: {
          gumbel: (positions: typeof length, V: number) =>
            gumbelNoise(positions, { settings, vocabSize: V, stream: 0 }),
        },
      } as unknown as Round;
      const tokens = own && { tokens: graph.constant(Uint32Array.from(own)) };
      const ranked = coupledLogits(logits, { round, depths, ...tokens });
      const positions = length.add(graph.constant(Uint32Array.from(depths)));
      return {
        coupled: argmax(ranked),
        ...(own ? {} : { target: sample(logits, { settings, counts, positions }) }),
        ranked,
      };
    },
    states: new Map([[settings, packSampling({ temperature, seed: 5 })]]),
    tolerance: 1e-5,
  });
  return outputs;
}

it('chooses what the target would with the same logits, at any temperature', async () => {
  for (const temperature of [0, 0.7, 1.5]) {
    const { coupled, target } = await both(temperature);
    expect([...coupled!]).toEqual([...target!]);
  }
  expect([...(await both(0)).coupled!]).not.toEqual([...(await both(1.5)).coupled!]);
});

it("takes the noise of the target's tokens for those of a vocabulary of its own", async () => {
  const all = Array.from({ length: vocabSize }, (_, token) => token);
  expect([...(await both(1, all)).ranked!]).toEqual([...(await both(1)).ranked!]);
  const own = [30, 2, 17];
  const { ranked } = await both(1, own);
  const still = await both(0, own);
  const noise = [...ranked!].map((value, i) => value - still.ranked![i]!);
  const every = await both(1);
  const cold = await both(0);
  own.forEach((token, at) => expect(noise[at]).toBeCloseTo(every.ranked![token]! - cold.ranked![token]!, 4));
});
