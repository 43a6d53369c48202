/** A real cache under the draft model: a llama that drafts for itself is always right, and never changes what is said. */
import { testDevice } from '@forerun/tensor/harness';
import { load } from 'forerun';
import { afterAll, expect, it } from 'vitest';
import { goldenFolder, plainTokens, promptOf, run } from './golden-llama.ts';

const model = await load(goldenFolder('llama'), {
  device: await testDevice(),
  capacityTokens: 128,
  draft: goldenFolder('llama'),
});
afterAll(() => model.close());

it('a model that drafts for itself is accepted whole', async () => {
  for (const sampling of [{ temperature: 0 }, { temperature: 1, topK: 20, seed: 4 }]) {
    const request = { prompt: promptOf(37), maxTokens: 24, sampling };
    const plain = await plainTokens(model, request);
    using conversation = model.open({ drafter: 'draft-model' });
    const { tokens } = await run(conversation, { ...request, width: 4 });
    expect(tokens).toEqual(plain);
    const { draftedTokens, acceptedTokens } = conversation.statistics!;
    expect(draftedTokens).toBeGreaterThanOrEqual(18);
    expect(acceptedTokens).toBe(draftedTokens);
  }
});
