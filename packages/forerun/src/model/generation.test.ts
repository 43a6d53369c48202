import { describe, expect, it } from 'vitest';
import { Generation, type GenerationPiece, type GenerationResult } from './generation.ts';

/** Counts how far the source was asked. */
function counting(pieces: number, failAt = Infinity) {
  const seen = { asked: 0, closed: false };
  const piece = (text: string): GenerationPiece => ({ text, tokens: [], rejected: [], width: 1 });
  const soFar = () => ({ text: 'abcdef'.slice(0, seen.asked) }) as GenerationResult;
  async function* source(): AsyncGenerator<GenerationPiece, GenerationResult, void> {
    try {
      for (; seen.asked < pieces;) {
        if (seen.asked === failAt) throw new Error('broken');
        seen.asked++;
        yield piece('abcdef'[seen.asked - 1]!);
      }
    } finally {
      seen.closed = true;
    }
    return soFar();
  }
  return { seen, generation: new Generation(source(), soFar) };
}

async function textOf(generation: AsyncIterable<GenerationPiece>): Promise<string> {
  let text = '';
  for await (const piece of generation) text += piece.text;
  return text;
}

describe('Generation', () => {
  it('does nothing until it is asked, and no more than it is asked', async () => {
    const { seen, generation } = counting(4);
    expect(seen.asked).toBe(0);
    await generation[Symbol.asyncIterator]().next();
    expect(seen.asked).toBe(1);
    expect(await generation.text).toBe('abcd');
    expect(seen.closed).toBe(true);
  });

  it('gives every iteration all pieces, also those at the same time', async () => {
    const { generation } = counting(6);
    const [first, second, text] = await Promise.all([textOf(generation), textOf(generation), generation.text]);
    expect([first, second, text, await textOf(generation)]).toEqual(Array(4).fill('abcdef'));
  });

  it('ends where a loop was left, and tells what there is', async () => {
    const { seen, generation } = counting(6);
    for await (const { text } of generation) if (text === 'c') break;
    expect(seen).toEqual({ asked: 3, closed: true });
    expect(await generation.text).toBe('abc');
    expect(await textOf(generation)).toBe('abc');
  });

  it('can be stopped before it began', async () => {
    const { seen, generation } = counting(6);
    await generation.stop();
    expect(await generation.text).toBe('');
    expect(seen.asked).toBe(0);
  });

  it('fails for all who wait, and keeps failing', async () => {
    const { generation } = counting(6, 2);
    const results = await Promise.allSettled([textOf(generation), generation.text, generation.result]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    await expect(generation.text).rejects.toThrow('broken');
  });
});
