import { expect, test } from 'vitest';
import { generationConfig } from './generation-config.ts';

const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };

test('without a file, the end token of config.json and greedy decoding', () => {
  expect(generationConfig(undefined, { eos_token_id: 2 }, 128)).toEqual({
    stopTokens: [2],
    stopStrings: [],
    sampling: greedy,
    unsupported: [],
  });
  expect(generationConfig(undefined, {}, 128).stopTokens).toEqual([]);
});

test('its own end tokens come before those of config.json', () => {
  expect(generationConfig({ eos_token_id: [5, 7, 5] }, { eos_token_id: 2 }, 128).stopTokens).toEqual([5, 7]);
  expect(generationConfig({ eos_token_id: null }, { eos_token_id: [2, 3] }, 128).stopTokens).toEqual([2, 3]);
});

test('ids that mean "none" are dropped', () => {
  expect(generationConfig({ eos_token_id: [-1, 128, 4] }, {}, 128).stopTokens).toEqual([4]);
});

test('sampling settings count with do_sample', () => {
  const settings = { temperature: 0.6, top_p: 0.9, top_k: 20, min_p: 0.05, repetition_penalty: 1.1 };
  expect(generationConfig({ ...settings, do_sample: true }, {}, 128).sampling).toEqual({
    temperature: 0.6,
    topK: 20,
    topP: 0.9,
    minP: 0.05,
    repetitionPenalty: 1.1,
  });
  expect(generationConfig(settings, {}, 128).sampling.temperature).toBe(0);
  expect(generationConfig({ do_sample: true }, {}, 128).sampling).toEqual({ ...greedy, temperature: 1 });
});

test('settings that are not implemented are named', () => {
  const file = {
    num_beams: 4,
    no_repeat_ngram_size: 0,
    bad_words_ids: [[1]],
    typical_p: 1.0,
    stop_strings: ['END'],
    max_new_tokens: 9,
  };
  expect(generationConfig(file, {}, 128)).toMatchObject({
    unsupported: ['num_beams', 'bad_words_ids'],
    stopStrings: ['END'],
    maxNewTokens: 9,
  });
});

test.each([
  [
    { eos_token_id: 'end' },
    'generation_config.json: eos_token_id is "end", expected a token id or a list of token ids',
  ],
  [{ eos_token_id: [1.5] }, 'eos_token_id is [1.5]'],
  [{ do_sample: 'yes' }, 'do_sample is "yes"'],
  [{ do_sample: true, temperature: -1 }, 'temperature is -1'],
  [{ top_p: 1.5 }, 'top_p is 1.5'],
  [{ top_k: 2.5 }, 'top_k is 2.5'],
  [{ repetition_penalty: 0 }, 'repetition_penalty is 0'],
  [{ max_new_tokens: 0 }, 'max_new_tokens is 0'],
  [{ stop_strings: [1] }, 'stop_strings is [1]'],
])('%j is refused', (file, message) => {
  expect(() => generationConfig(file, {}, 128)).toThrow(
    expect.objectContaining({ code: 'model-config', message: expect.stringContaining(message) as string }) as Error,
  );
});
