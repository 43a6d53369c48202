import { GgufError } from '../errors.ts';
import type { GgufValue } from './cursor.ts';

/** Reads metadata entry by entry; errors are {@link GgufError}s that name the file, the key, what was expected and what came. */
export class Metadata {
  readonly where: string;
  readonly #entries: ReadonlyMap<string, GgufValue>;

  constructor(entries: ReadonlyMap<string, GgufValue>, where: string) {
    this.#entries = entries;
    this.where = where;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  keys(): Iterable<string> {
    return this.#entries.keys();
  }

  /** A whole number from 0 on; undefined where it is not there. */
  integer(key: string): number | undefined {
    return this.#read(key, 'a whole number from 0 on', (value) =>
      typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined,
    );
  }

  /** A finite number. */
  number(key: string): number | undefined {
    return this.#read(key, 'a finite number', (value) =>
      typeof value === 'number' && Number.isFinite(value) ? value : undefined,
    );
  }

  boolean(key: string): boolean | undefined {
    return this.#read(key, 'true or false', (value) => (typeof value === 'boolean' ? value : undefined));
  }

  string(key: string): string | undefined {
    return this.#read(key, 'a string', (value) => (typeof value === 'string' ? value : undefined));
  }

  strings(key: string): readonly string[] | undefined {
    return this.#read(key, 'a list of strings', (value) =>
      Array.isArray(value) && value.every((item) => typeof item === 'string') ? (value as string[]) : undefined,
    );
  }

  numbers(key: string): readonly number[] | undefined {
    return this.#read(key, 'a list of numbers', (value) =>
      Array.isArray(value) && value.every((item) => typeof item === 'number') ? (value as number[]) : undefined,
    );
  }

  /** A whole number that every layer has alike, given once or once a layer. */
  perLayer(key: string): number | undefined {
    if (!Array.isArray(this.#entries.get(key))) return this.integer(key);
    const [first, ...others] = this.numbers(key)!;
    if (first === undefined || others.some((other) => other !== first)) {
      throw new GgufError(`${this.where}: ${key} differs from layer to layer, which is not supported.`);
    }
    return first;
  }

  /** What an entry has to be; `read` is one of the readers above. */
  need<T>(key: string, read: (key: string) => T | undefined): T {
    const value = read.call(this, key);
    if (value !== undefined) return value;
    throw new GgufError(`${this.where}: the metadata has no ${key}, without which the model cannot be put together.`);
  }

  #read<T>(key: string, expected: string, check: (value: GgufValue) => T | undefined): T | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    const read = check(value);
    if (read !== undefined) return read;
    const came = Array.isArray(value) ? 'another list' : JSON.stringify(String(value as string).slice(0, 120));
    throw new GgufError(`${this.where}: ${key} has to be ${expected}, got ${came}.`);
  }
}
