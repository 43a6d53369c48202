/**
 * How a run of trees ends on a device with WebGPU's guaranteed limits alone: whatever ends it inside an accepted path, the text is that of
 * plain decoding, and what is left in the caches goes on as if the tree had never been.
 */
import type { ReplayState } from '@forerun/drafters';
import { AbortedError } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { type GenerateRequest, load } from 'forerun';
import { afterAll, describe, expect, it } from 'vitest';
import { goldenFolder, numberDetokenizer, plainTokens, promptOf, run } from './golden-llama.ts';
import { hiddenPath } from './hidden-path.ts';

const capacityTokens = 128;
const model = await load(goldenFolder('llama'), { device: await testDevice({ limits: 'portable' }), capacityTokens });
afterAll(() => model.close());
const prompt = promptOf(11);
const sampling = { temperature: 0.8, seed: 21 };
const plain = await plainTokens(model, { prompt, sampling, maxTokens: capacityTokens });

/** Rounds of 64 rows begin so near the end of the conversation that their tree reaches past it. */
describe.each([
  ['16 rows', hiddenPath(1), 16, true],
  ['16 rows of another form', hiddenPath(2), 16, false],
  ['64 rows', hiddenPath(3), 64, true],
] as const)('%s', (_, drafter, width, endsInside) => {
  const request: GenerateRequest = { prompt, sampling, width };

  function open() {
    const conversation = model.open({ drafter });
    const state = model.engine.speculation(drafter).drafterState as ReplayState;
    conversation.states.write(state.recording, Uint32Array.from([...prompt, ...plain]));
    return conversation;
  }

  /** What follows `kept` after two tokens more. */
  const furtherOf = (kept: readonly number[]): GenerateRequest => ({
    prompt: [...kept, 77, 78],
    maxTokens: 6,
    sampling,
  });

  /** Holds a conversation to have kept `tokens` of the text, and to go on from there in trees as plain decoding does. */
  async function expectKept(conversation: ReturnType<typeof open>, tokens: number): Promise<void> {
    const kept = [...prompt, ...plain.slice(0, tokens)];
    expect(conversation.tokens).toEqual(kept);
    const further = await run(conversation, { ...furtherOf(kept), width });
    expect(conversation.statistics!.reusedTokens).toBeGreaterThanOrEqual(kept.length - 1);
    expect(further.tokens).toEqual(await plainTokens(model, furtherOf(kept)));
  }

  it('accepts long paths until the conversation is full, in the middle of one or behind it', async () => {
    using conversation = open();
    const { tokens, mostAccepted } = await run(conversation, request);
    expect(mostAccepted).toBeGreaterThan(3);
    expect(tokens).toEqual(plain);
    expect(conversation.tokens).toHaveLength(capacityTokens);
    const { stopReason, generatedTokens, rounds } = conversation.statistics!;
    expect(stopReason).toMatch(/capacity|max-tokens/);
    // Whether the last path was longer than what was left.
    expect(generatedTokens < rounds * (mostAccepted + 1)).toBe(endsInside);
  });

  it.each([1, 2, 5, 9, 17])('ends at the limit of %i tokens inside an accepted path', async (maxTokens) => {
    using conversation = open();
    const { tokens } = await run(conversation, { ...request, maxTokens });
    expect(tokens).toEqual(plain.slice(0, maxTokens));
    expect(conversation.statistics).toMatchObject({ stopReason: 'max-tokens', generatedTokens: maxTokens });
    await expectKept(conversation, maxTokens);
  });

  it.each([1, 4, 8])('ends at a stop token inside an accepted path: %i', async (at) => {
    const stop = plain[at]!;
    const end = plain.indexOf(stop) + 1;
    using conversation = open();
    const { tokens } = await run(conversation, { ...request, stopTokens: [stop] });
    expect(tokens).toEqual(plain.slice(0, end));
    expect(conversation.statistics!.stopReason).toBe('stop-token');
    await expectKept(conversation, end);
  });

  it.each([2, 7])('ends at a stop string inside an accepted path, and takes its tokens back: %i', async (at) => {
    using conversation = open();
    const stopStrings = [`<${plain[at]}><${plain[at + 1]}>`];
    const { text } = await run(conversation, { ...request, stopStrings, detokenizer: numberDetokenizer() });
    const end = plain.findIndex((token, i) => token === plain[at] && plain[i + 1] === plain[at + 1]);
    expect(text).toBe(
      plain
        .slice(0, end)
        .map((token) => `<${token}>`)
        .join(''),
    );
    expect(conversation.statistics!.stopReason).toBe('stop-string');
    await expectKept(conversation, end);
  });

  it('keeps what was given before an abort between rounds', async () => {
    const controller = new AbortController();
    using conversation = open();
    const given: number[] = [];
    const aborted = (async () => {
      for await (const step of conversation.generate({ ...request, signal: controller.signal })) {
        given.push(...step.tokens);
        if (given.length >= 6) controller.abort(new Error('enough'));
      }
    })();
    await expect(aborted).rejects.toThrow(AbortedError);
    expect(given).toEqual(plain.slice(0, given.length));
    expect(conversation.statistics!.stopReason).toBe('aborted');
    await expectKept(conversation, given.length);
  });
});
