/** What a caller can get wrong, and the typed error that each mistake gets: what was expected, what came, what to do. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ForerunError, requestDevice } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { afterAll, describe, expect, it } from 'vitest';
import { byteCheckpoint, type ByteCheckpointFiles, goldenFolder } from '../../test/byte-checkpoint.ts';
import { load, type LoadOptions } from '../load/load.ts';
import type { ModelSource } from '../load/source.ts';
import type { GenerateOptions, Prompt } from './loaded-model.ts';

const device = await testDevice();
const removals: (() => void)[] = [];

function checkpoint(files: ByteCheckpointFiles = {}, damage?: (folder: string) => void): string {
  const { folder, remove } = byteCheckpoint(files);
  removals.push(remove);
  damage?.(folder);
  return folder;
}
afterAll(() => removals.forEach((remove) => remove()));

async function failure(run: () => unknown): Promise<ForerunError> {
  const error = await (async () => run())().then(
    () => undefined,
    (cause: unknown) => cause,
  );
  expect(error, 'an error was expected').toBeInstanceOf(ForerunError);
  return error as ForerunError;
}

describe('load refuses', () => {
  const wrong: readonly [what: string, source: ModelSource, options: LoadOptions, code: string, message: RegExp][] = [
    [
      'a folder that is not there',
      '/no/such/folder',
      {},
      'file-missing',
      /\/no\/such\/folder has neither model\.safetensors/,
    ],
    ['a folder without a model', goldenFolder('.'), {}, 'file-missing', /neither model\.safetensors/],
    ['nothing', '', {}, 'argument', /a folder, a URL or a Hub repository/],
    ['a number', 7 as never, {}, 'argument', /got number/],
    ['a URL of another kind', new URL('ftp://example.org/model'), {}, 'argument', /http/],
    [
      'an option that is misspelt',
      goldenFolder('llama'),
      { capacity: 64 } as never,
      'argument',
      /capacityTokens.*got capacity/,
    ],
    ['an unknown weight format', goldenFolder('llama'), { weights: 'int3' as never }, 'argument', /int3/],
    [
      'weights that are cut off',
      checkpoint({}, (folder) => writeFileSync(join(folder, 'model.safetensors'), 'short')),
      {},
      'safetensors',
      /model\.safetensors/,
    ],
    [
      'a configuration that is no JSON',
      checkpoint({}, (folder) => writeFileSync(join(folder, 'config.json'), '{')),
      {},
      'config-file',
      /config\.json/,
    ],
    [
      'a model type that is not known',
      checkpoint({ config: { model_type: 'perceptron' } }),
      {},
      'unsupported-model',
      /perceptron.*llama/s,
    ],
    [
      'a configuration without sizes',
      checkpoint({ config: { model_type: 'llama' } }),
      {},
      'model-config',
      /hidden_size|vocab_size/,
    ],
    [
      'a tokenizer that is none',
      checkpoint({}, (folder) => writeFileSync(join(folder, 'tokenizer.json'), '{"model": 1}')),
      { device },
      'tokenizer',
      /tokenizer\.json/,
    ],
    [
      'generation settings that are none',
      checkpoint({ generation: { do_sample: true, temperature: 'warm' } }),
      {},
      'model-config',
      /temperature/,
    ],
    [
      'a draft model of another vocabulary',
      goldenFolder('llama'),
      { draft: goldenFolder('llama-biases') },
      'mismatched-parts',
      /128 tokens.*256/,
    ],
    [
      'a draft that is not there',
      goldenFolder('llama'),
      { draft: '/no/such/draft' },
      'file-missing',
      /\/no\/such\/draft/,
    ],
    [
      'a capacity past what the model was made for',
      goldenFolder('llama'),
      { device, capacityTokens: 513 },
      'argument',
      /512.*513/,
    ],
    ['a capacity of nothing', goldenFolder('llama'), { device, capacityTokens: 1 }, 'argument', /at least 2/],
    [
      'what needs more memory than allowed, naming the numbers',
      goldenFolder('llama'),
      { device, memoryLimitBytes: 100_000 },
      'device-limit',
      /needs \d{6,} device bytes \(weights \d+, .*\d+.*scratch \d+\), and the limit is 100000/,
    ],
    [
      'an adapter of another kind',
      goldenFolder('llama'),
      { device: { adapter: device.adapter.kind === 'software' ? 'hardware' : 'software' } },
      'adapter',
      /hardware|software/,
    ],
    [
      'to begin when it was aborted before',
      goldenFolder('llama'),
      { signal: AbortSignal.abort(new Error('no')) },
      'aborted',
      /aborted/i,
    ],
  ];
  for (const [what, source, options, code, message] of wrong) {
    it(what, async () => {
      const error = await failure(() => load(source, options));
      expect(error.code).toBe(code);
      expect(error.message).toMatch(message);
    });
  }

  it('to go on when it is aborted on the way, and gives the memory back', async () => {
    const held = () => device.memory.total - device.memory.scratch;
    const before = held();
    const controller = new AbortController();
    const error = await failure(() =>
      load(goldenFolder('llama'), {
        device,
        signal: controller.signal,
        capacityTokens: 64,
        onProgress: () => controller.abort(),
      }),
    );
    expect(error.code).toBe('aborted');
    expect(held()).toBe(before);
  });
});

const model = await load(checkpoint(), { device, capacityTokens: 64 });
afterAll(() => model.close());

describe('generate refuses', () => {
  const text = 'Hello';
  const wrong: readonly [what: string, prompt: Prompt, options: GenerateOptions, code: string, message: RegExp][] = [
    ['an empty prompt', '', {}, 'argument', /no tokens/],
    ['a prompt without tokens', [], {}, 'argument', /no tokens/],
    ['a prompt longer than the capacity', 'x'.repeat(64), {}, 'capacity', /64 tokens/],
    ['a prompt that is none', 7 as never, {}, 'argument', /text, token ids or messages/],
    ['a list of something else', [{ text: 'x' }] as never, {}, 'argument', /role/],
    ['tokens outside of the vocabulary', [1, 256], {}, 'argument', /256/],
    ['a token that is no whole number', [0.5], {}, 'argument', /0\.5/],
    ['messages without a chat template', [{ role: 'user', content: 'Hi' }], {}, 'chat-template', /no chat template/],
    ['no tokens to generate', text, { maxTokens: 0 }, 'argument', /maxTokens/],
    ['an unknown drafter', text, { drafter: 'oracle' as never }, 'argument', /none, n-gram, .*draft-model.*oracle/],
    ['a draft model that was not loaded', text, { drafter: 'draft-model' }, 'mismatched-parts', /no draft model/],
    [
      'a verifier that needs more than the drafter gives',
      text,
      { drafter: 'n-gram', verifier: { ...model.engine.verifier, needs: { distribution: true } } },
      'mismatched-parts',
      /distribution/,
    ],
    ['a width of nothing', text, { drafter: 'n-gram', width: 0 }, 'argument', /width/i],
    ['a width past the largest', text, { drafter: 'n-gram', width: 65 }, 'argument', /64/],
    ['a setting in the wrong place', text, { temperature: 0 } as never, 'argument', /sampling\.temperature/],
    ['a setting that is misspelt', text, { sampling: { top_p: 0.5 } as never }, 'argument', /top_p.*topP/],
    ['a negative temperature', text, { sampling: { temperature: -1 } }, 'argument', /temperature/],
    ['a temperature that is no number', text, { sampling: { temperature: Number.NaN } }, 'argument', /temperature/],
    ['half a top-k', text, { sampling: { topK: 0.5 } }, 'argument', /topK/],
    ['a top-p above 1', text, { sampling: { topP: 1.5 } }, 'argument', /topP/],
    ['a seed below 0', text, { sampling: { seed: -1 } }, 'argument', /seed/],
    ['an empty stop string', text, { stopStrings: [''] }, 'argument', /stop string/i],
    ['a stop token that is none', text, { stopTokens: [1000] }, 'argument', /1000/],
    ['to begin when it was aborted before', text, { signal: AbortSignal.abort() }, 'aborted', /aborted/],
  ];
  for (const [what, prompt, options, code, message] of wrong) {
    it(what, async () => {
      const error = await failure(() => model.generate(prompt, { drafter: 'none', ...options }).text);
      expect(error.code).toBe(code);
      expect(error.message).toMatch(message);
    });
  }

  it('and works afterwards', async () => {
    expect((await model.generate(text, { drafter: 'none', maxTokens: 4, stopTokens: [] }).result).tokens).toHaveLength(
      4,
    );
    expect(device.memory.states).toBe(0);
  });
});

describe('conversations refuse', () => {
  it('to be used by two at once', async () => {
    const conversation = model.open({ drafter: 'none' });
    const first = conversation.generate({ prompt: [1, 2], maxTokens: 3 });
    await first.next();
    expect((await failure(() => conversation.generate({ prompt: [1], maxTokens: 1 }).next())).code).toBe(
      'conversation-state',
    );
    expect((await failure(() => conversation.close())).code).toBe('conversation-state');
    await first.return(undefined as never);
    conversation.close();
  });

  it('to go on when they were closed', async () => {
    const conversation = model.open({ drafter: 'none' });
    conversation.close();
    conversation.close();
    expect((await failure(() => conversation.generate({ prompt: [1] }).next())).code).toBe('conversation-state');
  });

  it('a chat without a template, a second answer at once, and turns after its end', async () => {
    expect((await failure(() => model.chat({ drafter: 'none' }))).code).toBe('chat-template');
    const chat = model.chat({
      drafter: 'none',
      maxTokens: 4,
      stopTokens: [],
      render: (messages) => messages.map(({ content }) => content).join(''),
    });
    const answering = chat.send('one')[Symbol.asyncIterator]();
    await answering.next();
    expect((await failure(() => chat.send('two').text)).code).toBe('conversation-state');
    await answering.return!();
    chat.close();
    expect((await failure(() => chat.send('three').text)).code).toBe('conversation-state');
  });
});

describe('a checkpoint without a tokenizer', () => {
  it('takes token ids, and no text', async () => {
    const folder = checkpoint({ tokenizer: false });
    using bare = await load(folder, { device, capacityTokens: 64 });
    const { tokens, text } = await bare.generate([1, 2, 3], { drafter: 'none', maxTokens: 3, stopTokens: [] }).result;
    expect([tokens.length, text]).toEqual([3, '']);
    const error = await failure(() => bare.generate('Hello').text);
    expect([error.code, error.message]).toEqual(['tokenizer', expect.stringContaining(folder)]);
    expect((await failure(() => bare.generate([1], { stopStrings: ['x'] }).text)).code).toBe('argument');
    bare.close();
    expect((await failure(() => bare.generate([1]).text)).code).toBe('conversation-state');
  });
});

describe('a device that is destroyed in the middle of a run', () => {
  it('is a typed error of the run, and a new device works', async () => {
    const folder = goldenFolder('llama');
    const lost = await load(folder, { device: await requestDevice(), capacityTokens: 64 });
    const run = async (): Promise<void> => {
      let rounds = 0;
      for await (const _ of lost.generate([1, 2, 3], { drafter: 'none', maxTokens: 40, stopTokens: [] })) {
        if (++rounds === 3) lost.engine.device.destroy();
      }
    };
    const error = await failure(run);
    expect([error.code, error.message]).toEqual(['device-lost', expect.stringContaining('destroyed')]);
    expect((await failure(() => lost.generate([1], { drafter: 'none' }).text)).code).toBe('device-lost');
    lost.close();

    using again = await load(folder, { capacityTokens: 64 });
    const { tokens } = await again.generate([1, 2, 3], { drafter: 'none', maxTokens: 4, stopTokens: [] }).result;
    expect(tokens).toHaveLength(4);
  });
});
