/** The first of several drafters that proposes enough. */
import type { Drafter } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { GenerateRequest } from '@forerun/decoding';
import { draftModel, first, nGram, replay, tokenRecycling } from '@forerun/drafters';
import { AbortedError, ArgumentError, type State } from '@forerun/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { bushes } from './adversaries.ts';
import { numbered, small, smallEngine, toy } from './small-engine.ts';
import { toyDecoder } from './toy-decoder.ts';

const engine = await smallEngine();
afterAll(() => engine.destroy());
const prompt = [1, 2, 3, 1, 2];
const request: GenerateRequest = { prompt, maxTokens: 40, sampling: { temperature: 0.9, seed: 7 }, width: 4 };
const plain = await small(engine, undefined, { ...request, width: 1 });
const text = [...prompt, ...plain.tokens];

/** Knows what comes, up to a place. */
const recorded = replay();
const recordingOf = (drafter: Drafter): State =>
  engine.speculation(drafter).drafterState!.states.find(({ name }) => name === 'replay recording')!;
const known = (drafter: Drafter, end = text.length) =>
  small(engine, drafter, request, (conversation) => {
    const words = new Uint32Array(120).fill(0xffff_ffff);
    words.set(text.slice(0, end));
    conversation.states.write(recordingOf(drafter), words);
  });

describe('first', () => {
  it('takes the first proposal that is long enough, else the last', async () => {
    // Recorded up to the 12th token: the draft model, which is perfect too, goes on from there.
    const drafter = first({ drafter: recorded, atLeast: 3 }, draftModel({ decoder: toyDecoder(toy) }));
    const run = await known(drafter, prompt.length + 12);
    expect(run.tokens).toEqual(plain.tokens);
    expect(run.steps.every(({ tokens }) => tokens.length === 4)).toBe(true);
    const alone = await known(recorded, prompt.length + 12);
    expect(alone.accepted).toBe(9);
    expect(run.accepted).toBe(30);

    const never = first({ drafter: bushes(7), atLeast: 9 }, recorded);
    const wide = await known(never);
    expect(wide.tokens).toEqual(plain.tokens);
    // Capped to what fits the round, nine rows are three.
    expect(wide.steps.every(({ drafts }) => drafts.length <= 3)).toBe(true);
  });

  it.each<readonly [string, Drafter]>([
    [
      'look-up and a draft model',
      first(nGram({ longest: 3 }), draftModel({ decoder: toyDecoder({ ...toy, mistakes: 3 }) })),
    ],
    ['a chain and a tree', first({ drafter: nGram(), atLeast: 3 }, bushes(7))],
    ['a tree and a chain', first({ drafter: bushes(3), atLeast: 3 }, nGram())],
    [
      'three, of which one wants the best tokens',
      first(nGram({ longest: 6, shortest: 4 }), first(tokenRecycling({ vocabSize: 6, candidates: 3 }), nGram())),
    ],
  ])('changes no token: %s', async (_, drafter) => {
    for (const sampling of [{}, request.sampling!]) {
      const expected = await small(engine, undefined, { ...request, sampling, width: 1 });
      for (const width of [2, 8]) {
        const run = await small(engine, drafter, { ...request, sampling, width });
        expect(run.tokens).toEqual(expected.tokens);
        expect(run.accepted).toBeGreaterThan(3);
      }
    }
  });

  it('stops inside an accepted block, and goes on behind an abort', async () => {
    const drafter = first(nGram({ longest: 3, shortest: 3 }), draftModel({ decoder: toyDecoder(toy) }));
    const stop = plain.tokens[5]!;
    const stopped = await small(engine, drafter, { ...request, stopTokens: [stop] });
    expect(stopped.tokens).toEqual(plain.tokens.slice(0, plain.tokens.indexOf(stop) + 1));
    const stopStrings = [
      plain.tokens
        .slice(9, 12)
        .map((token) => `<${token}>`)
        .join(''),
    ];
    const expected = await small(engine, undefined, { ...request, width: 1, stopStrings, detokenizer: numbered() });
    const cut = await small(engine, drafter, { ...request, stopStrings, detokenizer: numbered() });
    expect([cut.text, cut.tokens]).toEqual([expected.text, expected.tokens]);

    const controller = new AbortController();
    using conversation = engine.open({ drafter });
    const given: number[] = [];
    const aborted = (async () => {
      for await (const step of conversation.generate({ ...request, signal: controller.signal })) {
        given.push(...step.tokens);
        if (given.length >= 10) controller.abort();
      }
    })();
    await expect(aborted).rejects.toThrow(AbortedError);
    for await (const step of conversation.generate({
      ...request,
      prompt: [...prompt, ...given],
      maxTokens: 40 - given.length,
    }))
      given.push(...step.tokens);
    expect(given).toEqual(plain.tokens);
  });

  it('refuses what cannot be together', () => {
    expect(() => first(nGram())).toThrow(ArgumentError);
    expect(() => first({ drafter: nGram(), atLeast: 0 }, nGram())).toThrow(ArgumentError);
    const wants = (hidden: 'before-norm' | 'after-norm'): Drafter => ({ ...nGram(), needs: { hidden } });
    expect(() => first(wants('before-norm'), wants('after-norm'))).toThrow(MismatchedPartsError);
    expect(first(wants('before-norm'), nGram()).needs).toEqual({ hidden: 'before-norm' });
    const taps = (...layers: readonly number[]): Drafter => ({
      ...nGram(),
      needs: { taps: layers, topTokens: layers[0]! },
    });
    expect(first(taps(5, 2), taps(2, 3)).needs).toEqual({ taps: [2, 3, 5], topTokens: 5 });
  });
});
