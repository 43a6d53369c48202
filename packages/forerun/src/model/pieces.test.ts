import { loadTokenizer, folderSource } from '@forerun/checkpoints';
import { afterAll, describe, expect, it } from 'vitest';
import { byteCheckpoint } from '../../test/byte-checkpoint.ts';
import { Pieces } from './pieces.ts';

const checkpoint = byteCheckpoint();
const tokenizer = await loadTokenizer(folderSource(checkpoint.folder));
afterAll(() => checkpoint.remove());
const bytes = (text: string): number[] => [...new TextEncoder().encode(text)];

describe('Pieces', () => {
  it('says where each token came from and what was rejected', () => {
    const piece = new Pieces(tokenizer, bytes('a')).of({
      tokens: bytes('bcd'),
      text: 'bcd',
      width: 4,
      drafts: bytes('bcx'),
      accepted: 2,
    });
    expect(piece.tokens.map(({ text, origin }) => `${text} ${origin}`)).toEqual(['b draft', 'c draft', 'd model']);
    expect(piece.rejected).toEqual([{ id: 120, text: 'x' }]);
  });

  it('counts guesses behind the end of the text neither as kept nor as rejected', () => {
    const piece = new Pieces(tokenizer, bytes('a')).of({
      tokens: bytes('b'),
      text: 'b',
      width: 8,
      drafts: bytes('bcdxy'),
      accepted: 3,
    });
    expect(piece.tokens.map(({ origin }) => origin)).toEqual(['draft']);
    expect(piece.rejected.map(({ text }) => text)).toEqual(['x', 'y']);
  });

  it("takes a tree's path out of its guesses, wherever its rows are", () => {
    const piece = new Pieces(tokenizer, bytes('a')).of({
      tokens: bytes('cfz'),
      text: 'cfz',
      width: 8,
      drafts: bytes('bcdef'),
      accepted: 2,
    });
    expect(piece.rejected.map(({ text }) => text)).toEqual(['b', 'd', 'e']);
  });

  it('gives the nodes of a reported round their text', () => {
    const node = (token: number, parent: number, depth: number, accepted: boolean) => ({
      token,
      parent,
      depth,
      accepted,
    });
    const [a, b, c] = bytes('abc');
    const round = {
      nodes: [node(a!, -1, 0, true), node(b!, 0, 1, true), node(300, 0, 1, false)],
      path: [0, 1],
      next: c!,
      disagreed: false,
      times: undefined,
    };
    const step = { tokens: bytes('bc'), text: 'bc', width: 4, drafts: [b!, 300], accepted: 1, round };
    const piece = new Pieces(tokenizer, bytes('a')).of(step);
    expect(piece.round).toEqual({
      ...round,
      nodes: round.nodes.map((one, row) => ({ ...one, text: ['a', 'b', ''][row] })),
      next: { id: c, text: 'c' },
    });
  });

  it('gives the text of a character with its last byte', () => {
    const [first, second] = bytes('é');
    const pieces = new Pieces(tokenizer, bytes('a'));
    const step = { text: '', width: 1, drafts: [], accepted: 0 };
    expect(pieces.of({ ...step, tokens: [first!] }).tokens).toEqual([{ id: first, text: '', origin: 'model' }]);
    expect(pieces.of({ ...step, tokens: [second!] }).tokens).toEqual([{ id: second, text: 'é', origin: 'model' }]);
  });

  it('has no text without a tokenizer, nor for ids outside of the vocabulary', () => {
    const step = { tokens: [7], text: '', width: 2, drafts: [300], accepted: 0 };
    expect(new Pieces(undefined, [1]).of(step)).toEqual({
      text: '',
      tokens: [{ id: 7, text: '', origin: 'model' }],
      rejected: [{ id: 300, text: '' }],
      width: 2,
    });
    expect(new Pieces(tokenizer, [1]).of(step).rejected).toEqual([{ id: 300, text: '' }]);
  });
});
