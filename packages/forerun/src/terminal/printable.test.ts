import { describe, expect, it } from 'vitest';
import { printable } from './printable.ts';

describe('printable', () => {
  const cases: readonly [string, string][] = [
    ['plain text, tabs\tand\nlines', 'plain text, tabs\tand\nlines'],
    ['héllo 世界 🙂', 'héllo 世界 🙂'],
    ['\u001b[31mred\u001b[0m', '\\x1b[31mred\\x1b[0m'],
    ['\u001b]0;title\u0007', '\\x1b]0;title\\x07'],
    ['back\bspace\rreturn', 'back\\x08space\\x0dreturn'],
    ['\u009b2J\u007f', '\\x9b2J\\x7f'],
    ['\u202etxt.exe\u2066', '\\u202etxt.exe\\u2066'],
    ['\ud800 alone, \udc00 too', '\\ud800 alone, \\udc00 too'],
  ];
  for (const [text, shown] of cases) it(`shows ${JSON.stringify(text)}`, () => expect(printable(text)).toBe(shown));
});
