/** A JSON value that keeps what `JSON.parse` loses: objects are maps in file order, numbers are the text that stood in the file. */
export type StrictJson = null | boolean | string | JsonNumber | StrictJson[] | Map<string, StrictJson>;

/** A number as written. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** The number when it is written as a plain non-negative integer that a double holds exactly; else undefined. */
  get count(): number | undefined {
    const value = /^(?:0|[1-9]\d*)$/.test(this.text) ? Number(this.text) : Number.NaN;
    return Number.isSafeInteger(value) ? value : undefined;
  }
}

const deepest = 64;
const numberPattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
// oxlint-disable-next-line no-control-regex -- JSON strings may not hold control characters
const stringPattern = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;

/**
 * Parses JSON (RFC 8259) without its two traps for untrusted files: a key given twice is an error instead of the last one winning,
 * and integers are not rounded to doubles. Nesting deeper than 64 is an error.
 *
 * @throws SyntaxError that names the position and what was expected there.
 */
export function parseStrictJson(text: string): StrictJson {
  let at = 0;

  const fail = (expected: string): never => {
    const found = at < text.length ? JSON.stringify(text.slice(at, at + 12)) : 'the end';
    throw new SyntaxError(`expected ${expected} at character ${at}, got ${found}`);
  };
  const space = (): void => {
    for (;;) {
      const code = text.charCodeAt(at);
      if (code !== 0x20 && code !== 0x09 && code !== 0x0a && code !== 0x0d) return;
      at++;
    }
  };
  const take = (pattern: RegExp, expected: string): string => {
    pattern.lastIndex = at;
    const match = pattern.exec(text) ?? fail(expected);
    at += match[0].length;
    return match[0];
  };
  const word = <T>(spelling: string, value: T): T => {
    if (!text.startsWith(spelling, at)) fail('a value');
    at += spelling.length;
    return value;
  };
  const string = (): string => JSON.parse(take(stringPattern, 'a string')) as string;

  const members = (depth: number): Map<string, StrictJson> => {
    const map = new Map<string, StrictJson>();
    at++;
    space();
    if (text[at] === '}') {
      at++;
      return map;
    }
    for (;;) {
      space();
      const key = string();
      if (map.has(key)) throw new SyntaxError(`the key ${JSON.stringify(key.slice(0, 120))} is given twice`);
      space();
      if (text[at] !== ':') fail('":"');
      at++;
      map.set(key, value(depth + 1));
      space();
      if (text[at] === '}') break;
      if (text[at] !== ',') fail('"," or "}"');
      at++;
    }
    at++;
    return map;
  };

  const items = (depth: number): StrictJson[] => {
    const list: StrictJson[] = [];
    at++;
    space();
    if (text[at] === ']') {
      at++;
      return list;
    }
    for (;;) {
      list.push(value(depth + 1));
      space();
      if (text[at] === ']') break;
      if (text[at] !== ',') fail('"," or "]"');
      at++;
    }
    at++;
    return list;
  };

  const value = (depth: number): StrictJson => {
    if (depth > deepest) throw new SyntaxError(`nested deeper than ${deepest}`);
    space();
    switch (text[at]) {
      case '{':
        return members(depth);
      case '[':
        return items(depth);
      case '"':
        return string();
      case 't':
        return word('true', true);
      case 'f':
        return word('false', false);
      case 'n':
        return word('null', null);
      default:
        return new JsonNumber(take(numberPattern, 'a value'));
    }
  };

  const result = value(0);
  space();
  if (at < text.length) fail('the end');
  return result;
}
