/** How a run ends, and that what is kept is exactly what was given: rounds in flight behind an end change nothing. */
import { AbortedError } from '@forerun/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { goldenLlama, numberDetokenizer, plainTokens, promptOf, Replays, run } from './golden-llama.ts';

const model = await goldenLlama();
const replays = new Replays(model);
const prompt = promptOf(11);
const sampling = { temperature: 0.8, seed: 21 };
const width = 8;
const length = 40;
const plain = await plainTokens(model, { prompt, maxTokens: length, sampling });
const recording = [...prompt, ...plain];
afterAll(() => model.close());

describe('the end of a run', () => {
  it('comes at the token limit in the middle of an accepted block', async () => {
    for (const maxTokens of [1, 2, 13, 15, 16, 17]) {
      using conversation = replays.open(recording);
      const { tokens } = await run(conversation, { prompt, maxTokens, sampling, width });
      expect(tokens).toEqual(plain.slice(0, maxTokens));
      expect(conversation.tokens).toEqual([...prompt, ...tokens]);
      const { statistics } = conversation;
      expect(statistics).toMatchObject({ stopReason: 'max-tokens', generatedTokens: maxTokens });
      expect(statistics!.roundsByWidth).toEqual({ [width]: statistics!.rounds });
      expect(statistics!.rounds).toBe(Math.ceil(maxTokens / width));
    }
  });

  it('comes at a stop token in the middle of an accepted block, and the token is given', async () => {
    for (const at of [0, 3, 11, 20]) {
      const stop = plain[at]!;
      const end = plain.indexOf(stop) + 1;
      using conversation = replays.open(recording);
      const { tokens } = await run(conversation, {
        prompt,
        maxTokens: length,
        sampling,
        width,
        stopTokens: [255 - stop, stop],
      });
      const first = Math.min(end, plain.includes(255 - stop) ? plain.indexOf(255 - stop) + 1 : length);
      expect(tokens).toEqual(plain.slice(0, first));
      expect(conversation.tokens).toEqual([...prompt, ...tokens]);
      expect(conversation.statistics!.stopReason).toBe('stop-token');
    }
  });

  it('comes at a stop string inside an accepted block, which takes its tokens back', async () => {
    const at = 12;
    const stopStrings = [`>${[plain[at], plain[at + 1]].map((token) => `<${token}>`).join('')}`];
    for (const conversation of [
      model.open({ drafter: 'none' }),
      replays.open(recording),
      replays.open(recording, 0.3),
    ]) {
      const request = { prompt, maxTokens: length, sampling, stopStrings, detokenizer: numberDetokenizer() };
      const { text } = await run(conversation, { ...request, width });
      // The string begins with the last character of the token before, which cannot be kept either.
      expect(text).toBe(
        `${plain
          .slice(0, at)
          .map((token) => `<${token}>`)
          .join('')
          .slice(0, -1)}`,
      );
      expect(conversation.tokens).toEqual([...prompt, ...plain.slice(0, at - 1)]);
      expect(conversation.statistics).toMatchObject({ stopReason: 'stop-string', generatedTokens: at - 1 });
      conversation.close();
    }
  });

  it('goes on after a stop string as if the text had never gone further', async () => {
    const kept = [...prompt, ...plain.slice(0, 9)];
    const next = { prompt: [...kept, 77, 78], maxTokens: 12, sampling: { temperature: 0 } };
    const alone = await plainTokens(model, next);
    using conversation = replays.open(recording);
    const stopStrings = [`<${plain[9]}><${plain[10]}>`];
    await run(conversation, {
      prompt,
      maxTokens: length,
      sampling,
      width,
      stopStrings,
      detokenizer: numberDetokenizer(),
    });
    expect(conversation.tokens).toEqual(kept);
    expect((await run(conversation, { ...next, width: 1 })).tokens).toEqual(alone);
    expect(conversation.statistics!.reusedTokens).toBe(kept.length - 1);
  });

  it('gives what was held back when no stop string came', async () => {
    using conversation = replays.open(recording);
    const last = `<${plain[7]}>`;
    const request = {
      prompt,
      maxTokens: 8,
      sampling,
      width,
      stopStrings: [`${last}!`],
      detokenizer: numberDetokenizer(),
    };
    const { text } = await run(conversation, request);
    expect(text).toBe(
      plain
        .slice(0, 8)
        .map((token) => `<${token}>`)
        .join(''),
    );
  });

  it('comes when the conversation is full', async () => {
    const long = promptOf(120);
    for (const drafter of ['none', 'n-gram'] as const) {
      using conversation = model.open({ drafter });
      const { tokens } = await run(conversation, { prompt: long, width: drafter === 'none' ? 1 : width });
      expect(tokens).toHaveLength(8);
      expect(conversation.statistics!.stopReason).toMatch(/capacity|max-tokens/);
    }
  });
});

describe('a run that is left', () => {
  it('by an abort keeps what was given, and goes on from there', async () => {
    const controller = new AbortController();
    using conversation = replays.open(recording, 0.3);
    const given: number[] = [];
    const aborted = (async () => {
      for await (const step of conversation.generate({
        prompt,
        maxTokens: length,
        sampling,
        width: 4,
        signal: controller.signal,
      })) {
        given.push(...step.tokens);
        if (given.length >= 10) controller.abort(new Error('enough'));
      }
    })();
    await expect(aborted).rejects.toThrow(AbortedError);
    expect(given).toEqual(plain.slice(0, given.length));
    expect(conversation.tokens).toEqual([...prompt, ...given]);
    expect(conversation.statistics!.stopReason).toBe('aborted');

    const rest = await run(conversation, {
      prompt: [...prompt, ...given],
      maxTokens: length - given.length,
      sampling,
      width: 4,
    });
    expect(rest.tokens).toEqual(plain.slice(given.length));
    expect(conversation.statistics!.reusedTokens).toBe(prompt.length + given.length - 1);
  });

  it('by a break keeps what was given, and goes on from there', async () => {
    using conversation = replays.open(recording);
    const given: number[] = [];
    for await (const step of conversation.generate({ prompt, maxTokens: length, sampling, width })) {
      given.push(...step.tokens);
      if (given.length >= 10) break;
    }
    expect(given).toEqual(plain.slice(0, given.length));
    expect(conversation.tokens).toEqual([...prompt, ...given]);
    expect(conversation.statistics!.stopReason).toBe('abandoned');
    const rest = await run(conversation, { prompt: [...prompt, ...given], maxTokens: 8, sampling, width });
    expect(rest.tokens).toEqual(plain.slice(given.length, given.length + 8));
  });

  it('before it began changes nothing', async () => {
    using conversation = model.open({ drafter: 'none' });
    const signal = AbortSignal.abort(new Error('never'));
    await expect(run(conversation, { prompt, signal })).rejects.toThrow(AbortedError);
    expect((await run(conversation, { prompt, maxTokens: 5, sampling })).tokens).toEqual(plain.slice(0, 5));
  });
});
