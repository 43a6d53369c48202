/** `width: 'auto'`: plain at first, wider when wider rounds are ready, the same tokens throughout. */
import { afterAll, expect, it } from 'vitest';
import { goldenLlama, plainTokens, promptOf, Replays, run } from './golden-llama.ts';

const model = await goldenLlama();
const replays = new Replays(model);
afterAll(() => model.close());

it('begins without waiting for wide rounds, has them all when they are ready, and changes no token', async () => {
  const request = { prompt: promptOf(12), maxTokens: 60, sampling: { temperature: 0.8, seed: 5 } };
  const alone = await plainTokens(model, request);
  using conversation = replays.open([...request.prompt, ...alone], 0);
  const first = await run(conversation, { ...request, maxTokens: 2 });
  expect(first.tokens).toEqual(alone.slice(0, 2));
  expect(Object.keys(conversation.statistics!.roundsByWidth)).toEqual(['1']);

  // Which width the policy takes follows from measured times, so it is tested on its own; here, that all are there to be taken.
  await conversation.ready();
  expect(conversation.readyWidths.slice(0, 4)).toEqual([1, 2, 4, 8]);
  expect(model.engine.withdrawnWidths).toEqual([]);
  const second = await run(conversation, request);
  expect(second.tokens).toEqual(alone);
});
