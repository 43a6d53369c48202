/** Drafters in a conversation that decodes plainly for a while: they take in rounds that are not theirs. */
import type { Drafter } from '@forerun/contracts';
import { draftModel, first, lookahead, nGram, tokenRecycling } from '@forerun/drafters';
import { afterAll, expect, it } from 'vitest';
import { small, smallEngine, toy } from './small-engine.ts';
import { toyDecoder } from './toy-decoder.ts';

const engine = await smallEngine();
afterAll(() => engine.destroy());
const vocabSize = toy.vocabSize;
const sampling = { temperature: 0.9, seed: 7 };
const request = { prompt: [1, 2, 3, 1, 2], sampling };
const plain = await small(engine, undefined, { ...request, maxTokens: 36, width: 1 });

const drafters: readonly Drafter[] = [
  tokenRecycling({ vocabSize, candidates: 3 }),
  lookahead({ vocabSize, window: 2, ngram: 3 }),
  draftModel({ decoder: toyDecoder(toy) }),
  first(nGram({ shortest: 3 }), lookahead({ vocabSize, window: 2, ngram: 3 })),
];

it.each(drafters)('$name', async (drafter) => {
  const fed = await engine.speculation(drafter).fed();
  expect(fed).not.toBe(await engine.speculation(undefined).round(1));
  using conversation = engine.open({ drafter });
  let accepted = 0;
  // Without a width to choose, the policy has every round be a plain one that the drafter takes in.
  for (const turn of [
    { maxTokens: 12, widths: [] },
    { maxTokens: 24, width: 8 },
  ] as const) {
    const prompt = conversation.tokens.length > 0 ? conversation.tokens : request.prompt;
    for await (const step of conversation.generate({ ...request, ...turn, prompt })) accepted += step.accepted;
  }
  expect(conversation.tokens.slice(request.prompt.length)).toEqual(plain.tokens);
  expect(accepted).toBeGreaterThan(0);
});
