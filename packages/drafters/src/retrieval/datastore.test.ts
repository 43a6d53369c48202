import { ArgumentError } from '@forerun/tensor';
import { randomSource } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';
import { buildDatastore, DatastoreError, datastoreBytes, readDatastore, separator } from './datastore.ts';
import { suffixArray } from './suffix-array.ts';

function plainOrder(tokens: Uint32Array): number[] {
  return Array.from(tokens.keys()).sort((a, b) => {
    for (let i = 0; a + i < tokens.length && b + i < tokens.length; i++) {
      if (tokens[a + i] !== tokens[b + i]) return tokens[a + i]! - tokens[b + i]!;
    }
    return b - a;
  });
}

describe('suffixArray', () => {
  it('agrees with a plain sort', () => {
    const random = randomSource(5);
    const texts = [[], [7], [1, 1, 1, 1], [2, 1, 2, 1, 2, 1], [0, 4294967295, 0, 4294967295], [3, 2, 1], [1, 2, 3]];
    for (let trial = 0; trial < 120; trial++) {
      const symbols = 1 + random.integer(trial % 3 === 0 ? 400 : 4);
      texts.push(Array.from({ length: 1 + random.integer(300) }, () => random.integer(symbols)));
    }
    for (const text of texts.map((one) => Uint32Array.from(one))) {
      expect(Array.from(suffixArray(text))).toEqual(plainOrder(text));
    }
  });

  it('sorts a hundred thousand tokens that repeat', () => {
    const random = randomSource(6);
    const phrases = Array.from({ length: 50 }, () => Array.from({ length: 40 }, () => random.integer(1000)));
    const text = Uint32Array.from(Array.from({ length: 2500 }, () => phrases[random.integer(50)]!).flat());
    const order = suffixArray(text);
    expect(new Set(order).size).toBe(text.length);
    const isBefore = (a: number, b: number) => {
      let i = 0;
      while (b + i < text.length && a + i < text.length && text[a + i] === text[b + i]) i++;
      return a + i === text.length || (b + i < text.length && text[a + i]! < text[b + i]!);
    };
    for (let k = 1; k < order.length; k += 7) expect(isBefore(order[k - 1]!, order[k]!)).toBe(true);
  });
});

describe('datastore', () => {
  it('puts a separator behind each document', () => {
    expect(Array.from(buildDatastore([5, 6]).tokens)).toEqual([5, 6, separator]);
    expect(Array.from(buildDatastore([[5], [], Uint16Array.of(6, 7)]).tokens)).toEqual([5, separator, 6, 7, separator]);
  });

  it('comes back from its bytes, wherever they lie', () => {
    const datastore = buildDatastore([4, 1, 4, 1, 5, 9, 2, 6]);
    const bytes = datastoreBytes(datastore);
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    expect(readDatastore(bytes)).toEqual(datastore);
    expect(readDatastore(shifted.subarray(3))).toEqual(datastore);
  });

  it('refuses what is no datastore', () => {
    const bytes = datastoreBytes(buildDatastore([4, 1, 4, 1, 5]));
    const changed = (at: number, value: number) => bytes.with(at, value);
    for (const wrong of [new Uint8Array(3), bytes.subarray(0, -4), changed(0, 0), changed(4, 9), changed(8, 200)]) {
      expect(() => readDatastore(wrong)).toThrow(DatastoreError);
    }
    expect(() => readDatastore(changed(16 + 4 * 6, 3))).toThrow(/does not belong/);
    expect(() => buildDatastore([])).toThrow(ArgumentError);
    expect(() => buildDatastore([[]])).toThrow(ArgumentError);
    expect(() => buildDatastore([1.5])).toThrow(ArgumentError);
    expect(() => buildDatastore([separator])).toThrow(ArgumentError);
  });
});
