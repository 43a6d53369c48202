import { CapacityError } from '@forerun/contracts';
import { ArgumentError } from '@forerun/tensor';
import { describe, expect, it } from 'vitest';
import type { GenerateRequest } from './request.ts';
import { checkRequest } from './request.ts';

const limits = { vocabSize: 100, capacityTokens: 32, maxStopStringBytes: 256 };
const detokenizer = { push: () => '', flush: () => '' };

describe('checkRequest', () => {
  const wrong: readonly [string, GenerateRequest, new (...args: never[]) => Error, RegExp][] = [
    ['an empty prompt', { prompt: [] }, ArgumentError, /no tokens/],
    ['a token past the vocabulary', { prompt: [1, 100] }, ArgumentError, /Prompt token 1 is 100/],
    ['a negative token', { prompt: [-1] }, ArgumentError, /Prompt token 0/],
    ['a token that is no whole number', { prompt: [1.5] }, ArgumentError, /1\.5/],
    ['a prompt that fills the capacity', { prompt: Array(32).fill(1) }, CapacityError, /32 tokens/],
    ['no tokens to generate', { prompt: [1], maxTokens: 0 }, ArgumentError, /maxTokens/],
    ['a fraction of a token', { prompt: [1], maxTokens: 2.5 }, ArgumentError, /maxTokens/],
    ['too many stop tokens', { prompt: [1], stopTokens: Array(33).fill(2) }, ArgumentError, /At most 32/],
    ['a stop token that is none', { prompt: [1], stopTokens: [100] }, ArgumentError, /Stop token 100/],
    ['an empty stop string', { prompt: [1], stopStrings: [''], detokenizer }, ArgumentError, /stop string/],
    [
      'a stop string that is too long',
      { prompt: [1], stopStrings: ['é'.repeat(129)], detokenizer },
      ArgumentError,
      /256/,
    ],
    ['stop strings without a detokenizer', { prompt: [1], stopStrings: ['x'] }, ArgumentError, /detokenizer/],
    ['a width of 0', { prompt: [1], width: 0 }, ArgumentError, /width/],
    ['a width past the largest', { prompt: [1], width: 65 }, ArgumentError, /width/],
    ['a negative temperature', { prompt: [1], sampling: { temperature: -1 } }, ArgumentError, /temperature/],
    ['a temperature that is no number', { prompt: [1], sampling: { temperature: NaN } }, ArgumentError, /temperature/],
    ['a fractional top-k', { prompt: [1], sampling: { topK: 1.5 } }, ArgumentError, /topK/],
    ['a top-p of 0', { prompt: [1], sampling: { topP: 0 } }, ArgumentError, /topP/],
    ['a top-p above 1', { prompt: [1], sampling: { topP: 1.1 } }, ArgumentError, /topP/],
    ['a min-p above 1', { prompt: [1], sampling: { minP: 2 } }, ArgumentError, /minP/],
    ['a repetition penalty of 0', { prompt: [1], sampling: { repetitionPenalty: 0 } }, ArgumentError, /repetition/],
    [
      'an infinite presence penalty',
      { prompt: [1], sampling: { presencePenalty: Infinity } },
      ArgumentError,
      /presence/,
    ],
    ['a negative seed', { prompt: [1], sampling: { seed: -1 } }, ArgumentError, /seed/],
    ['a seed of more than 64 bits', { prompt: [1], sampling: { seed: 2n ** 64n } }, ArgumentError, /seed/],
  ];
  for (const [what, request, error, message] of wrong) {
    it(`refuses ${what}`, () => {
      expect(() => checkRequest(request, limits)).toThrow(error);
      expect(() => checkRequest(request, limits)).toThrow(message);
    });
  }

  it('limits the tokens to what fits', () => {
    expect(checkRequest({ prompt: [1, 2], maxTokens: 1000 }, limits).maxTokens).toBe(30);
  });
});
