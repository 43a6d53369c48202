import { expect, test } from 'vitest';
import { seededRandom } from '../../test/write-safetensors.ts';
import { JsonNumber, parseStrictJson, type StrictJson } from './strict-json.ts';

/** The value as `JSON.parse` gives it. */
function plain(value: StrictJson): unknown {
  if (value instanceof JsonNumber) return Number(value.text);
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item)]));
  return value;
}

test('20,000 seeded texts: accepted exactly when JSON.parse does and no key is given twice, with the same values', () => {
  const random = seededRandom(4);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const atoms = [
    '1',
    '-0',
    '0.5',
    '1e5',
    '-2E-3',
    '"a"',
    '"\\u0061\\n"',
    '"é"',
    'true',
    'false',
    'null',
    '""',
    '12345678901234567890',
  ];
  const make = (depth: number): string => {
    const kind = random();
    if (depth === 0 || kind < 0.4) return pick(atoms);
    const parts = Array.from({ length: Math.floor(random() * 4) }, () => make(depth - 1));
    if (kind < 0.7) return `[${parts.join(pick([',', ' , ']))}]`;
    return `{${parts.map((part, index) => `"${pick(['a', 'b', '\\u0061'])}${index > 1 ? index : ''}":${part}`).join(',')}}`;
  };
  const counts = { accepted: 0, refused: 0, doubled: 0 };
  for (let round = 0; round < 20_000; round++) {
    let text = make(4);
    if (random() < 0.6) {
      const at = Math.floor(random() * (text.length + 1));
      text =
        text.slice(0, at) +
        pick(['', ',', '{', '}', '[', ']', '"', '\\', '0', '.', 'e', '-', ' ', '\n', '\u0001', 't', '/*', '\u00a0']) +
        text.slice(at + Math.floor(random() * 2));
    }
    let expected: unknown;
    let valid = true;
    try {
      expected = JSON.parse(text);
    } catch {
      valid = false;
    }
    try {
      const value = parseStrictJson(text);
      expect({ text, valid }).toEqual({ text, valid: true });
      expect(plain(value)).toEqual(expected);
      counts.accepted++;
    } catch (cause) {
      expect(cause).toBeInstanceOf(SyntaxError);
      if (valid) {
        expect((cause as Error).message).toContain('given twice');
        counts.doubled++;
      } else counts.refused++;
    }
  }
  expect(Math.min(counts.accepted, counts.refused, counts.doubled)).toBeGreaterThan(500);
});

test('numbers keep their text; only plain non-negative integers are counts', () => {
  const [integer, negative, float, exponent, huge, zero] = parseStrictJson(
    '[12,-1,1.0,1e2,9007199254740993,0]',
  ) as JsonNumber[];
  expect(integer!.count).toBe(12);
  expect(zero!.count).toBe(0);
  for (const other of [negative, float, exponent, huge]) expect(other!.count).toBeUndefined();
  expect(huge!.text).toBe('9007199254740993');
});

test('keys that objects treat in a special way are plain keys', () => {
  const value = parseStrictJson('{"__proto__":1,"constructor":2}') as Map<string, JsonNumber>;
  expect([...value.keys()]).toEqual(['__proto__', 'constructor']);
});
