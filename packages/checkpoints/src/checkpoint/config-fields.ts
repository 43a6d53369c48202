import type { ForerunError } from '@forerun/tensor';

/** A parsed config.json. */
export type ConfigJson = Readonly<Record<string, unknown>>;

/** Bounds of a number, both included. */
interface Bounds {
  readonly min: number;
  readonly max?: number;
}

/** Classes of a reader's errors. */
export interface FieldErrors {
  /** For a field that is missing, malformed, or does not fit the others. */
  readonly malformed: new (message: string) => ForerunError;
  /** For a value that may be right elsewhere and asks for something that is not implemented. */
  readonly unsupported: new (message: string) => ForerunError;
}

/**
 * Reads a configuration field by field. `null` counts as absent, as transformers writes it. A field without a fallback has to be there.
 * Every error is `errors.malformed`, unless said otherwise, and names the file, the field, what was expected and what came.
 */
export class ConfigFields {
  readonly json: ConfigJson;
  readonly errors: FieldErrors;
  /** How messages call the file. */
  readonly file: string;

  constructor(json: ConfigJson, errors: FieldErrors, file = 'config.json') {
    this.json = json;
    this.errors = errors;
    this.file = file;
  }

  /** Whether the field is there and not `null`. */
  has(name: string): boolean {
    return this.#value(name) !== undefined;
  }

  /** A whole number within bounds. */
  integer(name: string, { min, max = 2 ** 31 - 1 }: Bounds, fallback?: number): number {
    return this.#read(name, fallback, `an integer from ${min} to ${max}`, (value) =>
      Number.isInteger(value) && (value as number) >= min && (value as number) <= max ? (value as number) : undefined,
    );
  }

  /** A finite number within bounds. */
  number(name: string, { min, max = Number.MAX_VALUE }: Bounds, fallback?: number): number {
    const range = max === Number.MAX_VALUE ? `${min} or more` : `from ${min} to ${max}`;
    return this.#read(name, fallback, `a number, ${range}`, (value) =>
      Number.isFinite(value) && (value as number) >= min && (value as number) <= max ? (value as number) : undefined,
    );
  }

  /** `true` or `false`. */
  boolean(name: string, fallback?: boolean): boolean {
    return this.#read(name, fallback, 'true or false', (value) => (typeof value === 'boolean' ? value : undefined));
  }

  /** One of a few words; another word is `errors.unsupported`. */
  word<Word extends string>(name: string, words: readonly Word[], fallback?: Word): Word {
    const value = this.#read<string>(name, fallback, `one of ${words.join(', ')}`, (given) =>
      typeof given === 'string' ? given : undefined,
    );
    if ((words as readonly string[]).includes(value)) return value as Word;
    throw new this.errors.unsupported(
      `${this.file}: ${name} is ${JSON.stringify(value)}; supported are ${words.join(', ')}. Results would be wrong with another, so this checkpoint cannot be run.`,
    );
  }

  /** A list of `count` words, each one of a few. */
  words<Word extends string>(name: string, count: number, words: readonly Word[]): readonly Word[] {
    const expected = `${count} of ${words.map((word) => JSON.stringify(word)).join(' or ')}, one for each layer`;
    return this.#read(name, undefined, expected, (value) =>
      Array.isArray(value) && value.length === count && value.every((word) => words.includes(word as Word))
        ? (value as Word[])
        : undefined,
    );
  }

  /** A list of whole numbers within bounds; undefined where absent. */
  integers(name: string, { min, max = 2 ** 31 - 1 }: Bounds): readonly number[] | undefined {
    if (!this.has(name)) return undefined;
    return this.#read<readonly number[]>(name, undefined, `a list of integers from ${min} to ${max}`, (value) =>
      Array.isArray(value) && value.every((one) => Number.isInteger(one) && one >= min && one <= max)
        ? (value as number[])
        : undefined,
    );
  }

  /** A token id, or a list of them. */
  tokens(name: string): readonly number[] {
    return this.#read<readonly number[]>(name, [], 'a token id or a list of token ids', (value) => {
      const list: readonly unknown[] = Array.isArray(value) ? value : [value];
      return list.every((token) => Number.isInteger(token)) ? (list as number[]) : undefined;
    });
  }

  /** A string, or a list of such. */
  strings(name: string): readonly string[] {
    return this.#read<readonly string[]>(name, [], 'a string or a list of strings', (value) => {
      const list: readonly unknown[] = Array.isArray(value) ? value : [value];
      return list.every((text) => typeof text === 'string') ? (list as string[]) : undefined;
    });
  }

  /** The fields of an object inside; undefined where absent. */
  inside(name: string): ConfigFields | undefined {
    const value = this.#value(name);
    if (value === undefined) return undefined;
    if (typeof value !== 'object' || Array.isArray(value)) throw this.error(name, 'an object');
    return new ConfigFields(value as ConfigJson, this.errors, `${this.file}: ${name}`);
  }

  /**
   * Refuses a field that changes the result and is not implemented, unless it is absent or says what is computed anyway.
   *
   * @throws `errors.unsupported`
   */
  refuse(name: string, neutral: readonly unknown[] = []): void {
    const value = this.#value(name);
    if (value === undefined || neutral.includes(value)) return;
    const allowed =
      neutral.length > 0 ? `only ${neutral.map((one) => JSON.stringify(one)).join(' or ')} is` : 'it is not';
    throw new this.errors.unsupported(
      `${this.file}: ${name} is ${summary(value)}; ${allowed} supported. Results would be wrong without it, so this checkpoint cannot be run.`,
    );
  }

  /** An error about a field whose type is right and whose value does not fit the others. */
  error(name: string, expected: string): ForerunError {
    return new this.errors.malformed(
      `${this.file}: ${name} is ${summary(this.json[name])}, expected ${expected}. Check that the file belongs to these weights.`,
    );
  }

  #value(name: string): unknown {
    return Object.hasOwn(this.json, name) ? (this.json[name] ?? undefined) : undefined;
  }

  #read<Value>(
    name: string,
    fallback: Value | undefined,
    expected: string,
    parse: (value: unknown) => Value | undefined,
  ): Value {
    const value = this.#value(name);
    if (value === undefined) {
      if (fallback !== undefined) return fallback;
      throw new this.errors.malformed(
        `${this.file}: ${name} is missing, expected ${expected}. Download the file again, or check that it belongs to these weights.`,
      );
    }
    const parsed = parse(value);
    if (parsed === undefined) throw this.error(name, expected);
    return parsed;
  }
}

function summary(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
