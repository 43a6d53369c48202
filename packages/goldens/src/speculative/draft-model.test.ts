import type { Decoder, Drafter } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { GenerateRequest } from '@forerun/decoding';
import { Engine } from '@forerun/decoding';
import { draftModel } from '@forerun/drafters';
import { ArgumentError, WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { describe, expect, it } from 'vitest';
import type { ToyOptions } from './toy-decoder.ts';
import { toyDecoder } from './toy-decoder.ts';

const device = await testDevice();
const toy: ToyOptions = { vocabSize: 6, seed: 5, order: 2, scale: 6 };
const decoder = toyDecoder(toy);
const engine = await Engine.create({
  device,
  decoder,
  verifier: sampleAndMatch(),
  noise: philoxNoise,
  weights: { store: new WeightStore(device), fill: async () => undefined },
  capacityTokens: 120,
  chunkTokens: [16],
});
const prompt = Array.from({ length: 21 }, (_, i) => (i * i) % 6);

interface Turn {
  readonly prompt: readonly number[];
  readonly maxTokens: number;
  readonly width: number;
}

/** Runs turns on one conversation; each prompt may go on from what was said before. */
async function talk(
  drafter: Drafter | undefined,
  sampling: NonNullable<GenerateRequest['sampling']>,
  turns: (said: readonly number[]) => Iterable<Turn>,
) {
  const conversation = engine.open(drafter ? { drafter } : {});
  const results: { tokens: number[]; drafted: number; accepted: number }[] = [];
  for (const turn of turns(conversation.tokens)) {
    for await (const step of conversation.generate({ ...turn, sampling }))
      expect(step.tokens.length).toBeGreaterThan(0);
    const { draftedTokens, acceptedTokens } = conversation.statistics!;
    results.push({ tokens: [...conversation.tokens], drafted: draftedTokens, accepted: acceptedTokens });
  }
  conversation.close();
  return results;
}

async function once(drafter: Drafter | undefined, sampling: NonNullable<GenerateRequest['sampling']>, width: number) {
  return (await talk(drafter, sampling, () => [{ prompt, maxTokens: 40, width }]))[0]!;
}

describe('draftModel', { timeout: 600_000 }, () => {
  const samplings = {
    greedy: {},
    sampled: { temperature: 1, seed: 3 },
    filtered: { temperature: 1.4, topK: 4, topP: 0.9, seed: 4 },
  };
  for (const [name, sampling] of Object.entries(samplings)) {
    it(`gives plain decoding's tokens, and a perfect draft is accepted whole: ${name}`, async () => {
      const plain = await once(undefined, sampling, 1);
      for (const width of [2, 4, 8]) {
        const perfect = await once(draftModel({ decoder }), sampling, width);
        expect(perfect.tokens, `width ${width}`).toEqual(plain.tokens);
        expect(perfect.accepted, `width ${width}`).toBe(perfect.drafted);
        expect(perfect.drafted).toBeGreaterThanOrEqual(20);
      }
      const similar = await once(draftModel({ decoder: toyDecoder({ ...toy, mistakes: 4 }) }), sampling, 4);
      expect(similar.tokens).toEqual(plain.tokens);
      expect(similar.accepted).toBeGreaterThan(2);
      // The greedy toy runs in a circle of three tokens, all of which the similar one knows.
      if (name !== 'greedy') expect(similar.accepted).toBeLessThan(similar.drafted);
      const stranger = await once(
        draftModel({ decoder: toyDecoder({ ...toy, seed: 77 }), catchUpTokens: 3 }),
        sampling,
        4,
      );
      expect(stranger.tokens).toEqual(plain.tokens);
    });
  }

  it('catches up after rounds without it and after tokens were taken back', async () => {
    const sampling = { temperature: 0.8, seed: 5 };
    function* turns(): Generator<Turn> {
      yield { prompt, maxTokens: 30, width: 4 };
      yield { prompt: [...prompt, 1, 2, 3], maxTokens: 31, width: 1 };
      // What the conversation holds is repeated, so nothing is prefilled and the draft is 31 tokens behind.
      yield { prompt: said, maxTokens: 40, width: 4 };
    }
    let said: number[] = [];
    const conversation = engine.open({ drafter: draftModel({ decoder, catchUpTokens: 4 }) });
    const statistics = [];
    for (const turn of turns()) {
      for await (const step of conversation.generate({ ...turn, sampling }))
        expect(step.tokens.length).toBeGreaterThan(0);
      said = [...conversation.tokens];
      statistics.push(conversation.statistics!);
    }
    conversation.close();
    const [plain] = await talk(undefined, sampling, () => [
      { prompt: said.slice(0, said.length - 40), maxTokens: 40, width: 1 },
    ]);
    expect(said).toEqual(plain!.tokens);
    expect(statistics[1]!.draftedTokens).toBe(0);
    const last = statistics[2]!;
    expect(last.draftedTokens).toBeGreaterThan(0);
    expect(last.acceptedTokens).toBe(last.draftedTokens);
    expect(last.draftedTokens).toBeLessThan(30);
  });

  it('drafts no further than it is sure of itself', async () => {
    const [plain, whole] = [await once(undefined, {}, 1), await once(draftModel({ decoder }), {}, 8)];
    const runs = [0.5, 0.9, 1].map((confidence) => once(draftModel({ decoder, confidence }), {}, 8));
    const drafted: number[] = [];
    for (const run of await Promise.all(runs)) {
      expect(run.tokens).toEqual(plain.tokens);
      expect(run.accepted).toBe(run.drafted);
      drafted.push(run.drafted);
    }
    expect(drafted[0]).toBeLessThan(whole.drafted);
    expect(drafted).toEqual(drafted.toSorted((a, b) => b - a));
    // However unsure it is, the first draft is made: one in each of 20 rounds, and 20 tokens of the target.
    expect(drafted[2]).toBe(20);
    expect(() => draftModel({ decoder, confidence: 1.1 })).toThrow(ArgumentError);
  });

  it('is as sure of a drawn draft as the distribution that it is drawn from', async () => {
    const one = { temperature: 1, topK: 1, seed: 3 };
    const drawn = draftModel({ decoder, children: 'drawn', confidence: 1 });
    const [plain, whole] = [await once(undefined, one, 1), await once(draftModel({ decoder }), one, 8)];
    expect(await once(drawn, one, 8)).toEqual(whole);
    expect(whole.tokens).toEqual(plain.tokens);
    expect((await once(draftModel({ decoder, confidence: 1 }), one, 8)).drafted).toBe(20);
  });

  it('refuses a draft that does not fit', () => {
    const other: Decoder = toyDecoder({ ...toy, vocabSize: 7 });
    expect(() => engine.speculation(draftModel({ decoder: other })).round(2)).toThrow(MismatchedPartsError);
    expect(() => engine.speculation(draftModel({ decoder: other })).round(2)).toThrow(/7.*6/);
    expect(() => draftModel({ decoder: { ...decoder, maxPositions: 10 } }).state(120, { rollbackTokens: 0 })).toThrow(
      MismatchedPartsError,
    );
    expect(() => draftModel({ decoder, catchUpTokens: 1 })).toThrow(ArgumentError);
  });
});
