/** A draft model keeps a cache of its own, which has to follow the conversation through everything that can happen to it. */
import { testDevice } from '@forerun/tensor/harness';
import { type GenerateRequest, load } from 'forerun';
import { afterAll, expect, it } from 'vitest';
import { goldenFolder, numberDetokenizer, plainTokens, promptOf, run } from './golden-llama.ts';

const model = await load(goldenFolder('llama'), {
  device: await testDevice(),
  capacityTokens: 128,
  draft: goldenFolder('llama-tied'),
});
afterAll(() => model.close());

/** Runs a request on the conversation and holds it to plain decoding of the same request on a fresh one. */
async function turn(conversation: ReturnType<typeof model.open>, request: GenerateRequest): Promise<number[]> {
  const { tokens } = await run(conversation, request);
  expect(tokens).toEqual(await plainTokens(model, request));
  return tokens;
}

const sampling = { temperature: 1.2, seed: 14 };

it('follows turns of changing widths, plain rounds among them, and a branch', async () => {
  using conversation = model.open({ drafter: 'draft-model' });
  let said = promptOf(30);
  let accepted = 0;
  for (const [width, maxTokens] of [
    [4, 10],
    [8, 9],
    [1, 12],
    [4, 10],
    [2, 7],
  ] as const) {
    said = [...said, ...(await turn(conversation, { prompt: said, maxTokens, width, sampling })), 7, 8];
    accepted += conversation.statistics!.acceptedTokens;
    if (width > 1) expect(conversation.statistics!.draftedTokens).toBeGreaterThan(0);
  }
  expect(accepted).toBeGreaterThan(0);
  const branched = [...said.slice(0, 45), 200, 201, 202];
  await turn(conversation, { prompt: branched, maxTokens: 20, width: 4, sampling });
  expect(conversation.statistics!.reusedTokens).toBe(45);
});

it('goes on after a stop string, a break and an abort', async () => {
  const prompt = promptOf(15);
  const plain = await plainTokens(model, { prompt, maxTokens: 40, sampling });
  const stopStrings = [`<${plain[13]}><${plain[14]}>`];
  using conversation = model.open({ drafter: 'draft-model' });
  const request = { prompt, maxTokens: 40, sampling, width: 4 };
  await run(conversation, { ...request, stopStrings, detokenizer: numberDetokenizer() });
  expect(conversation.tokens).toEqual([...prompt, ...plain.slice(0, 13)]);
  await turn(conversation, { ...request, prompt: [...conversation.tokens], maxTokens: 8 });

  for await (const step of conversation.generate({ ...request, prompt: [...conversation.tokens], maxTokens: 20 })) {
    if (step.tokens.length > 0) break;
  }
  await turn(conversation, { ...request, prompt: [...conversation.tokens], maxTokens: 8 });

  const controller = new AbortController();
  const signal = controller.signal;
  const aborted = (async () => {
    for await (const _ of conversation.generate({ ...request, prompt: [...conversation.tokens], signal }))
      controller.abort();
  })();
  await expect(aborted).rejects.toMatchObject({ code: 'aborted' });
  await turn(conversation, { ...request, prompt: [...conversation.tokens], maxTokens: 8 });
});
