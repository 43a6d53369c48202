/** A user's own function as the drafter. */
import type { Drafter } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { GenerateRequest } from '@forerun/decoding';
import { first, host, nGram } from '@forerun/drafters';
import { AbortedError, ArgumentError } from '@forerun/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { numbered, small, smallEngine } from './small-engine.ts';

const engine = await smallEngine();
afterAll(() => engine.destroy());
const prompt = [1, 2, 3, 1, 2];
const maxTokens = 30;
const sampling = { temperature: 0.9, seed: 7 };
const request: GenerateRequest = { prompt, maxTokens, sampling, width: 4 };
const plain = await small(engine, undefined, { ...request, width: 1 });
const text = [...prompt, ...plain.tokens];

/** Knows what comes. */
const knowing = host((tokens) => text.slice(tokens.length), { name: 'knowing' });

describe('host', () => {
  it('is asked before each round with every token kept so far, and what it gives is verified', async () => {
    const asked: number[][] = [];
    const drafter = host(async (tokens) => {
      asked.push([...tokens]);
      return text.slice(tokens.length);
    });
    const run = await small(engine, drafter, request);
    expect(run.tokens).toEqual(plain.tokens);
    expect(run.steps.map(({ tokens }) => tokens.length)).toEqual([4, 4, 4, 4, 4, 4, 4, 2]);
    expect(asked).toEqual(run.steps.map((_, round) => text.slice(0, prompt.length + 4 * round)));
    expect(run.statistics.hostMs).toBeGreaterThanOrEqual(0);
    expect(plain.statistics).not.toHaveProperty('hostMs');
  });

  it('changes no token, whatever it gives', async () => {
    const garbage = [-1, 0.5, Number.NaN, 6, 2 ** 32, 1e300];
    const functions: readonly ((tokens: Uint32Array) => readonly number[])[] = [
      () => [],
      () => garbage,
      (tokens) => [...text.slice(tokens.length, tokens.length + 1), ...garbage],
      (tokens) => Array.from({ length: 1000 }, () => tokens.at(-1)!),
      (tokens) => text.slice(tokens.length).map((token, i) => (i % 3 === 1 ? (token + 1) % 6 : token)),
    ];
    for (const fn of functions) {
      for (const width of [2, 5])
        expect((await small(engine, host(fn), { ...request, width })).tokens).toEqual(plain.tokens);
    }
  });

  it('stops inside an accepted block: token limit, stop token, stop string', async () => {
    for (const limit of [1, 2, 7, 9]) {
      const run = await small(engine, knowing, { ...request, maxTokens: limit });
      expect(run.tokens).toEqual(plain.tokens.slice(0, limit));
    }
    const stop = plain.tokens[5]!;
    const stopped = await small(engine, knowing, { ...request, stopTokens: [stop] });
    expect(stopped.tokens).toEqual(plain.tokens.slice(0, plain.tokens.indexOf(stop) + 1));
    expect(stopped.statistics.stopReason).toBe('stop-token');
    const stopStrings = [
      plain.tokens
        .slice(9, 12)
        .map((token) => `<${token}>`)
        .join(''),
    ];
    const cut = { stopStrings, detokenizer: numbered() };
    const expected = await small(engine, undefined, { ...request, width: 1, ...cut, detokenizer: numbered() });
    const run = await small(engine, knowing, { ...request, ...cut });
    expect([run.text, run.tokens, run.statistics.stopReason]).toEqual([expected.text, expected.tokens, 'stop-string']);
  });

  it("ends the run with the function's own error, and the conversation can go on", async () => {
    const failure = new RangeError('no idea');
    let calls = 0;
    const drafter = host((tokens) => {
      calls++;
      if (calls === 3) throw failure;
      return text.slice(tokens.length);
    });
    using conversation = engine.open({ drafter });
    const given: number[] = [];
    const run = async (prompt_: readonly number[], most: number) => {
      for await (const step of conversation.generate({ ...request, prompt: prompt_, maxTokens: most }))
        given.push(...step.tokens);
    };
    await expect(run(prompt, maxTokens)).rejects.toBe(failure);
    expect(given).toEqual(plain.tokens.slice(0, 8));
    expect(conversation.tokens).toEqual(text.slice(0, prompt.length + 8));
    await run(conversation.tokens, maxTokens - 8);
    expect(given).toEqual(plain.tokens);
  });

  it('refuses an answer that is no list', async () => {
    for (const answer of [undefined, null, 3, 'abc']) {
      const drafter = host(() => answer as never);
      await expect(small(engine, drafter, request)).rejects.toThrow(ArgumentError);
    }
    const roomless: Drafter = { ...nGram(), host: async () => [] };
    expect(() => engine.open({ drafter: roomless })).toThrow(MismatchedPartsError);
  });

  it('is left to itself when the run is aborted', async () => {
    const controller = new AbortController();
    let calls = 0;
    const drafter = host((tokens) => {
      if (++calls < 3) return text.slice(tokens.length);
      setTimeout(() => controller.abort(), 5);
      return new Promise(() => undefined);
    });
    using conversation = engine.open({ drafter });
    const given: number[] = [];
    const run = (async () => {
      for await (const step of conversation.generate({ ...request, signal: controller.signal }))
        given.push(...step.tokens);
    })();
    await expect(run).rejects.toThrow(AbortedError);
    expect(given).toEqual(plain.tokens.slice(0, 8));
    expect(conversation.tokens).toEqual(text.slice(0, prompt.length + 8));
    expect(conversation.statistics!.stopReason).toBe('aborted');
  });

  it('can be one of several', async () => {
    const run = await small(engine, first({ drafter: host(() => []), atLeast: 2 }, nGram()), request);
    expect(run.tokens).toEqual(plain.tokens);
    const known = await small(
      engine,
      first({ drafter: nGram({ shortest: 40, longest: 40 }), atLeast: 1 }, knowing),
      request,
    );
    expect(known.tokens).toEqual(plain.tokens);
    expect(known.steps).toHaveLength(8);
    expect(() =>
      first(
        knowing,
        host(() => []),
      ),
    ).toThrow(MismatchedPartsError);
  });
});
