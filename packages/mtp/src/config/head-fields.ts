import { HeadConfigError } from '../errors.ts';

/** A parsed config.json. */
export type ConfigJson = Readonly<Record<string, unknown>>;

interface Bounds {
  readonly min: number;
  readonly max?: number;
}

/** Reads a configuration field by field; `null` counts as absent. A field without a fallback has to be there. */
export class HeadFields {
  readonly json: ConfigJson;
  /** How messages call the file. */
  readonly file: string;

  constructor(json: ConfigJson, file = 'config.json') {
    this.json = json;
    this.file = file;
  }

  has(name: string): boolean {
    return this.#value(name) !== undefined;
  }

  /** A whole number within bounds. */
  integer(name: string, { min, max = 2 ** 31 - 1 }: Bounds, fallback?: number): number {
    const fits = (value: unknown): value is number =>
      Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
    return this.#read(name, { fallback, expected: `an integer from ${min} to ${max}`, fits });
  }

  /** A finite number of at least `min`. */
  number(name: string, { min }: Bounds, fallback?: number): number {
    const fits = (value: unknown): value is number => Number.isFinite(value) && (value as number) >= min;
    return this.#read(name, { fallback, expected: `a number of at least ${min}`, fits });
  }

  boolean(name: string, fallback?: boolean): boolean {
    const fits = (value: unknown): value is boolean => typeof value === 'boolean';
    return this.#read(name, { fallback, expected: 'true or false', fits });
  }

  /** One of a few words. */
  word<Word extends string>(name: string, words: readonly Word[], fallback?: Word): Word {
    const fits = (value: unknown): value is Word => words.includes(value as Word);
    return this.#read(name, { fallback, expected: `one of ${words.join(', ')}`, fits });
  }

  /** A list of whole numbers from 0 on; undefined where absent. */
  integers(name: string): readonly number[] | undefined {
    if (!this.has(name)) return undefined;
    const fits = (value: unknown): value is readonly number[] =>
      Array.isArray(value) && value.every((one) => Number.isInteger(one) && (one as number) >= 0);
    return this.#read(name, { fallback: undefined, expected: 'a list of whole numbers', fits });
  }

  /** The fields of an object inside; undefined where absent. */
  inside(name: string): HeadFields | undefined {
    const value = this.#value(name);
    if (value === undefined) return undefined;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw this.error(name, 'an object');
    return new HeadFields(value as ConfigJson, `${this.file}: ${name}`);
  }

  /** Refuses a field that changes the result and is not implemented, unless it says what is computed anyway. */
  refuse(name: string, neutral: readonly unknown[]): void {
    const value = this.#value(name);
    if (value === undefined || neutral.includes(value)) return;
    throw this.error(name, neutral.length > 0 ? `${neutral.join(' or ')}, the rest is not implemented` : 'nothing');
  }

  error(name: string, expected: string): HeadConfigError {
    const value = JSON.stringify(this.json[name])?.slice(0, 60) ?? 'missing';
    return new HeadConfigError(
      `${this.file}: ${name} is ${value}, expected ${expected}. Check that the file belongs to these heads.`,
    );
  }

  #value(name: string): unknown {
    return Object.hasOwn(this.json, name) ? (this.json[name] ?? undefined) : undefined;
  }

  #read<Value>(
    name: string,
    rule: { fallback: Value | undefined; expected: string; fits: (value: unknown) => value is Value },
  ): Value {
    const value = this.#value(name) ?? rule.fallback;
    if (!rule.fits(value)) throw this.error(name, rule.expected);
    return value;
  }
}
