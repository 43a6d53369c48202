/** Several conversations on one model: each says what it would have said alone, and none leaves anything behind. */
import { afterAll, expect, it } from 'vitest';
import { goldenLlama, plainTokens, promptOf, Replays, run } from './golden-llama.ts';

const model = await goldenLlama();
const replays = new Replays(model);
const { device } = model.engine;
afterAll(() => model.close());

it('conversations at once say what each says alone', async () => {
  const requests = [
    { prompt: promptOf(9), maxTokens: 30, sampling: { temperature: 0.9, seed: 1 } },
    { prompt: promptOf(40), maxTokens: 25, sampling: { temperature: 0 } },
    { prompt: promptOf(23).reverse(), maxTokens: 30, sampling: { temperature: 0.7, seed: 2, repetitionPenalty: 1.2 } },
  ];
  const alone: number[][] = [];
  for (const request of requests) alone.push(await plainTokens(model, request));
  const conversations = [
    model.open({ drafter: 'none' }),
    model.open({ drafter: 'n-gram' }),
    replays.open([...requests[2]!.prompt, ...alone[2]!], 0.3),
  ];
  const together = await Promise.all(
    conversations.map((conversation, index) => run(conversation, { ...requests[index]!, width: index === 0 ? 1 : 4 })),
  );
  expect(together.map(({ tokens }) => tokens)).toEqual(alone);
  for (const conversation of conversations) conversation.close();
});

it('a conversation goes on from the longest common prefix of what it holds', async () => {
  using conversation = model.open({ drafter: 'n-gram' });
  const first = await run(conversation, { prompt: promptOf(30), maxTokens: 10, width: 4 });
  expect(conversation.statistics!.reusedTokens).toBe(0);

  const longer = [...promptOf(30), ...first.tokens, 7, 8, 9];
  const second = await run(conversation, { prompt: longer, maxTokens: 8, width: 4 });
  expect(conversation.statistics!.reusedTokens).toBe(39);
  expect(second.tokens).toEqual(await plainTokens(model, { prompt: longer, maxTokens: 8 }));

  const branched = [...promptOf(20), 200, 201];
  const third = await run(conversation, { prompt: branched, maxTokens: 8, width: 4 });
  expect(conversation.statistics!.reusedTokens).toBe(20);
  expect(third.tokens).toEqual(await plainTokens(model, { prompt: branched, maxTokens: 8 }));

  const again = await run(conversation, { prompt: branched, maxTokens: 8, width: 4 });
  expect(conversation.statistics!.reusedTokens).toBe(21);
  expect(again.tokens).toEqual(third.tokens);
});

it('50 prompt lengths add no program and no pipeline', async () => {
  using conversation = model.open({ drafter: 'n-gram' });
  const request = { maxTokens: 2, width: 4 };
  await run(conversation, { ...request, prompt: promptOf(100) });
  await run(conversation, { ...request, prompt: promptOf(100).reverse() });
  const lengths = async (from: number) => {
    for (let length = from; length < 102; length += 4) {
      // Another first token each time, so that every prompt is prefilled from its beginning.
      await run(conversation, { ...request, prompt: [length, ...promptOf(length - 1)] });
      expect(conversation.statistics!.reusedTokens).toBe(0);
    }
  };
  // Of the few sizes of passes, one may be met here first.
  await lengths(2);
  const before = [model.engine.programs.length, device.pipelines.count];
  await lengths(4);
  expect([model.engine.programs.length, device.pipelines.count]).toEqual(before);
});

it('1,000 conversations opened, used and closed leave memory flat', async () => {
  const once = async (drafter: 'none' | 'n-gram', use: boolean): Promise<void> => {
    using conversation = model.open({ drafter });
    if (use) await run(conversation, { prompt: promptOf(3), maxTokens: 2, width: drafter === 'none' ? 1 : 4 });
  };
  for (const drafter of ['none', 'n-gram'] as const) await once(drafter, true);
  const before = device.memory;
  for (let index = 0; index < 1000; index++) await once(index % 2 === 0 ? 'n-gram' : 'none', index % 8 < 2);
  expect(device.memory).toEqual(before);
});
