import { ModelConfigError, UnsupportedModelError } from '../errors.ts';

/** A parsed config.json. */
export type ConfigJson = Readonly<Record<string, unknown>>;

/** Bounds of a number, both included. */
interface Bounds {
  readonly min: number;
  readonly max?: number;
}

/**
 * Reads a configuration field by field. `null` counts as absent, as transformers writes it. A field without a fallback has to be there.
 * Every error is a {@link ModelConfigError} that names the file, the field, what was expected and what came.
 */
export class ConfigFields {
  readonly json: ConfigJson;
  /** How messages call the file. */
  readonly file: string;

  constructor(json: ConfigJson, file = 'config.json') {
    this.json = json;
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

  /** One of a few words; another word is an {@link UnsupportedModelError}, since it may be right elsewhere. */
  word<Word extends string>(name: string, words: readonly Word[], fallback?: Word): Word {
    const value = this.#read<string>(name, fallback, `one of ${words.join(', ')}`, (given) =>
      typeof given === 'string' ? given : undefined,
    );
    if ((words as readonly string[]).includes(value)) return value as Word;
    throw new UnsupportedModelError(
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

  /** A list of whole numbers from 0 to `count - 1`. */
  indexes(name: string, count: number): readonly number[] {
    return this.#read<readonly number[]>(name, undefined, `a list of integers from 0 to ${count - 1}`, (value) =>
      Array.isArray(value) && value.every((index) => Number.isInteger(index) && index >= 0 && index < count)
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

  /**
   * Refuses a field that changes the result and is not implemented, unless it is absent or says what is computed anyway.
   *
   * @throws {@link UnsupportedModelError}
   */
  refuse(name: string, neutral: readonly unknown[] = []): void {
    const value = this.#value(name);
    if (value === undefined || neutral.includes(value)) return;
    const allowed =
      neutral.length > 0 ? `only ${neutral.map((one) => JSON.stringify(one)).join(' or ')} is` : 'it is not';
    throw new UnsupportedModelError(
      `${this.file}: ${name} is ${summary(value)}; ${allowed} supported. Results would be wrong without it, so this checkpoint cannot be run.`,
    );
  }

  /** An error about a field whose type is right and whose value does not fit the others. */
  error(name: string, expected: string): ModelConfigError {
    return new ModelConfigError(
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
      throw new ModelConfigError(
        `${this.file}: ${name} is missing, expected ${expected}. Download the file again, or check that it belongs to this model type.`,
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
