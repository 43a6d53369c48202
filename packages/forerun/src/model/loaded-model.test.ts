import { replay } from '@forerun/drafters';
import { testDevice } from '@forerun/tensor/harness';
import { afterAll, describe, expect, it } from 'vitest';
import { byteCheckpoint, goldenFolder } from '../../test/byte-checkpoint.ts';
import { load, type ModelLoadProgress } from '../load/load.ts';

const device = await testDevice();
const checkpoint = byteCheckpoint({
  chatTemplate: '{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>',
  generation: { do_sample: true, temperature: 0.6, top_k: 40, eos_token_id: [2, 3], max_new_tokens: 12 },
});
const progress: ModelLoadProgress[] = [];
const model = await load(checkpoint.folder, { device, capacityTokens: 96, onProgress: (step) => progress.push(step) });
afterAll(() => {
  model.close();
  checkpoint.remove();
});
const sampling = { temperature: 0.9, seed: 4 };

describe('load', () => {
  it('tells how far it is, to the last byte', () => {
    const last = progress.at(-1)!;
    expect(last).toMatchObject({ part: 'model', loadedBytes: last.totalBytes });
    expect(progress.map(({ loadedBytes }) => loadedBytes)).toEqual(
      progress.map(({ loadedBytes }) => loadedBytes).sort((a, b) => a - b),
    );
  });

  it('says what it holds: adapter, memory, defaults of the checkpoint', () => {
    expect(model.adapter).toBe(device.adapter);
    expect(model.memory.weightBytes).toBeGreaterThan(100_000);
    expect(model.memory.totalBytes).toBe(
      model.memory.weightBytes + model.memory.stateBytes + model.memory.scratchBytes,
    );
    expect(model.generation).toMatchObject({
      stopTokens: [2, 3],
      maxNewTokens: 12,
      sampling: { temperature: 0.6, topK: 40 },
    });
    expect(model.config.modelType).toBe('llama');
    expect(model.defaultDrafter).toBe('n-gram');
  });

  it('counts what a drafter keeps of a conversation', () => {
    const before = model.memory.stateBytes;
    model.open({ drafter: replay() }).close();
    expect(model.memory.stateBytes - before).toBe(96 * 4);
  });
});

describe('generate', () => {
  it('gives the same text for a seed, whoever guesses, and another for another seed', async () => {
    const options = { maxTokens: 16, stopTokens: [] };
    const plain = await model.generate('Hello', { ...options, sampling, drafter: 'none' }).result;
    const guessed = await model.generate('Hello', { ...options, sampling, drafter: 'n-gram', width: 4 }).result;
    const automatic = await model.generate('Hello', { ...options, sampling }).result;
    const other = await model.generate('Hello', { ...options, sampling: { ...sampling, seed: 5 }, drafter: 'none' })
      .result;
    expect(guessed.tokens).toEqual(plain.tokens);
    expect(automatic.tokens).toEqual(plain.tokens);
    expect(plain).toMatchObject({
      text: guessed.text,
      seed: 4,
      statistics: { promptTokens: 5, stopReason: 'max-tokens' },
    });
    expect(other.tokens).not.toEqual(plain.tokens);
  });

  it('streams pieces that together are the text and the tokens', async () => {
    const generation = model.generate('Hello', { maxTokens: 24, sampling, stopTokens: [], drafter: 'none' });
    let text = '';
    const tokens: number[] = [];
    for await (const piece of generation) {
      text += piece.text;
      tokens.push(...piece.tokens.map(({ id }) => id));
    }
    const result = await generation.result;
    expect(result.text).toBe(text);
    expect(result.tokens).toEqual(tokens);
    expect(text).toBe(new TextDecoder().decode(Uint8Array.from(tokens)));
  });

  it('takes limits, sampling and end tokens from the checkpoint, and draws a seed', async () => {
    const first = await model.generate('Hello', { stopTokens: [], drafter: 'none' }).result;
    const second = await model.generate('Hello', { stopTokens: [], drafter: 'none' }).result;
    expect(first.tokens).toHaveLength(12);
    expect(second.seed).not.toBe(first.seed);
    const again = await model.generate('Hello', { stopTokens: [], drafter: 'none', sampling: { seed: first.seed } })
      .result;
    expect(again.tokens).toEqual(first.tokens);
    const stop = first.tokens[5]!;
    const stopped = await model.generate('Hello', {
      stopTokens: [stop],
      drafter: 'none',
      sampling: { seed: first.seed },
    }).result;
    expect(stopped.tokens).toEqual(first.tokens.slice(0, first.tokens.indexOf(stop) + 1));
  });

  it('takes token ids and messages as prompts', async () => {
    const options = { maxTokens: 6, sampling, drafter: 'none' as const };
    const byText = await model.generate('<user>Hi\n<assistant>', options).result;
    const byTokens = await model.generate([...new TextEncoder().encode('<user>Hi\n<assistant>')], options).result;
    const byMessages = await model.generate([{ role: 'user', content: 'Hi' }], options).result;
    expect(byTokens.tokens).toEqual(byText.tokens);
    expect(byMessages.tokens).toEqual(byText.tokens);
  });

  it('ends at a stop string without giving it', async () => {
    const options = { maxTokens: 24, sampling, stopTokens: [], drafter: 'none' as const };
    const whole = await model.generate('Hello', options).text;
    const at = [...whole].findIndex((character, index) => index > 3 && /[ -~]/.test(character));
    const stop = [...whole][at]!;
    const cut = await model.generate('Hello', { ...options, stopStrings: [stop] }).result;
    expect(cut.text).toBe(whole.slice(0, whole.indexOf(stop)));
    expect(cut.statistics.stopReason).toBe('stop-string');
  });

  it('names the drafters that it can be used with', () => {
    expect(model.drafters.slice(0, 2)).toEqual(['none', 'n-gram']);
    expect(model.drafters).not.toContain('draft-model');
  });

  it('drafts with its own first layers where it is asked to', async () => {
    expect(model.drafters).toContain('early-exit');
    expect(model.drafter('early-exit')).toBe(model.drafter('early-exit'));
    const options = { maxTokens: 12, sampling, width: 4 } as const;
    const plain = await model.generate('Hello', { ...options, drafter: 'none' }).result;
    const drafted = await model.generate('Hello', { ...options, drafter: 'early-exit' }).result;
    expect(drafted.tokens).toEqual(plain.tokens);
    expect(drafted.statistics.draftedTokens).toBeGreaterThan(0);
  });

  it('is free of what ran before', async () => {
    const options = { maxTokens: 10, sampling, drafter: 'none' as const };
    // Widths that were left to the policy are measured behind the scenes, on conversations of their own.
    const measured = model.open();
    await measured.ready();
    measured.close();
    const before = device.memory.states;
    const first = await model.generate('The same prompt', options).result;
    await model.generate('The same prompt, and more of it', options).result;
    const again = await model.generate('The same prompt', options).result;
    expect(again.tokens).toEqual(first.tokens);
    expect(again.statistics.reusedTokens).toBe(0);
    expect(device.memory.states).toBe(before);
  });
});

describe('a draft model', () => {
  it('has its weights from its own checkpoint, and changes rounds but not the text', async () => {
    const parts: ModelLoadProgress[] = [];
    const options = { device, capacityTokens: 96, draft: goldenFolder('llama-tied') };
    using pair = await load(checkpoint.folder, { ...options, onProgress: (step) => parts.push(step) });
    expect(pair.defaultDrafter).toBe('draft-model');
    expect(pair.drafters).toContain('draft-model');
    expect(
      parts.filter(({ part, loadedBytes, totalBytes }) => part === 'draft' && loadedBytes === totalBytes),
    ).toHaveLength(1);
    expect(pair.memory.weightBytes).toBeGreaterThan(model.memory.weightBytes);
    const request = { maxTokens: 24, stopTokens: [], sampling: { temperature: 1.2, seed: 6 } };
    const plain = await model.generate('Hello', { ...request, drafter: 'none' }).result;
    const guessed = await pair.generate('Hello', { ...request, width: 4 }).result;
    expect(guessed.tokens).toEqual(plain.tokens);
    expect(guessed.statistics.acceptedTokens).toBeGreaterThan(0);
    expect(guessed.statistics.acceptedTokens).toBeLessThan(guessed.statistics.draftedTokens);
    expect(guessed.statistics.rounds).toBeLessThan(plain.statistics.rounds);
  });
});

describe('chat', () => {
  it('goes on from its cache and remembers its turns', async () => {
    using chat = model.chat({
      drafter: 'none',
      maxTokens: 6,
      sampling,
      messages: [{ role: 'system', content: 'Be brief.' }],
    });
    const first = await chat.send('One').result;
    expect(first.statistics).toMatchObject({
      reusedTokens: 0,
      promptTokens: '<system>Be brief.\n<user>One\n<assistant>'.length,
    });
    const second = await chat.send('Two').result;
    expect(second.statistics.reusedTokens).toBeGreaterThanOrEqual('<system>Be brief.\n<user>One\n<assistant>'.length);
    expect(chat.messages).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'One' },
      { role: 'assistant', content: first.text },
      { role: 'user', content: 'Two' },
      { role: 'assistant', content: second.text },
    ]);
  });

  it('keeps what an answer that was left had said', async () => {
    using chat = model.chat({ drafter: 'none', maxTokens: 12, sampling });
    const answer = chat.send('One');
    for await (const piece of answer) if (piece.text !== '') break;
    expect(chat.messages.at(-1)).toEqual({ role: 'assistant', content: await answer.text });
    await chat.send('Two').text;
    expect(chat.messages).toHaveLength(4);
  });

  it('forgets a turn that failed before its first word', async () => {
    using chat = model.chat({ drafter: 'none', maxTokens: 12, sampling });
    await expect(chat.send('One', { signal: AbortSignal.abort() }).text).rejects.toMatchObject({ code: 'aborted' });
    await expect(chat.send('One', { sampling: { topP: 7 } }).text).rejects.toMatchObject({ code: 'argument' });
    expect(chat.messages).toEqual([]);
    expect(await chat.send('One', { maxTokens: 3 }).text).toBeTypeOf('string');
  });

  it('renders turns by a function of the caller', async () => {
    using chat = model.chat({
      drafter: 'none',
      maxTokens: 3,
      render: (messages) => messages.map(({ content }) => content).join(''),
    });
    expect((await chat.send('abc').result).statistics.promptTokens).toBe(3);
  });
});
