import { GgufError } from '../errors.ts';

/** Thrown where a header goes on behind the bytes that were read so far. */
export class HeaderGoesOn extends Error {}

/** Longest string of a header in bytes, and most elements of one array and of all. */
export const maxStringBytes = 16 << 20;
const maxArrayElements = 1 << 22;
const maxElements = 1 << 24;

/** A single value of the metadata. Whole numbers past 2^53 stay bigint. */
export type GgufScalar = number | bigint | boolean | string;

/** A value of the metadata: a single one, or a flat array of such. */
export type GgufValue = GgufScalar | readonly GgufScalar[];

const valueTypes = [
  'u8',
  'i8',
  'u16',
  'i16',
  'u32',
  'i32',
  'f32',
  'bool',
  'string',
  'array',
  'u64',
  'i64',
  'f64',
] as const;
type ValueType = (typeof valueTypes)[number];

/** Fewest bytes that a value takes. */
const leastBytes: Readonly<Record<ValueType, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 8,
  array: 12,
  u64: 8,
  i64: 8,
  f64: 8,
};

function plain(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/**
 * Reads the header of a GGUF file from its beginning. Every length is held against the file's size before anything is made of it, so
 * that nothing is allocated that the file does not pay for.
 */
export class Cursor {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #fileBytes: number;
  readonly #where: string;
  readonly #text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  #elements = 0;

  /** @param bytes - The beginning of a file of `fileBytes` bytes, or all of it. */
  constructor(bytes: Uint8Array, fileBytes: number, where: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#fileBytes = fileBytes;
    this.#where = where;
  }

  /** Throws a {@link GgufError} about this file. */
  refuse(why: string, cause?: unknown): never {
    throw new GgufError(`${this.#where}: ${why}.`, { cause });
  }

  u32(what: string): number {
    return this.#view.getUint32(this.#take(4, what), true);
  }

  u64(what: string): bigint {
    return this.#view.getBigUint64(this.#take(8, what), true);
  }

  /** A count that stands before what it counts, `least` bytes each. */
  count(what: string, { most, least }: { most: number; least: number }): number {
    const count = this.u64(what);
    if (count > BigInt(most)) this.refuse(`${what} is ${count}, at most ${most} are expected; the file is damaged`);
    const bytes = Number(count) * least;
    if (bytes > this.#fileBytes - this.at) {
      this.refuse(
        `${what} is ${count}, for which the file is too short; it is damaged or was cut off. Download it again`,
      );
    }
    return Number(count);
  }

  string(what: string, most = maxStringBytes): string {
    const length = this.count(`the length of ${what}`, { most, least: 1 });
    const begin = this.#take(length, what);
    try {
      return this.#text.decode(this.#bytes.subarray(begin, begin + length));
    } catch (cause) {
      return this.refuse(`${what} is not UTF-8; the file is damaged`, cause);
    }
  }

  /** A value with its type in front. */
  value(what: string): GgufValue {
    const type = this.#type(what);
    if (type !== 'array') return this.#scalar(type, what);
    const element = this.#type(`an element of ${what}`);
    if (element === 'array') this.refuse(`${what} is an array of arrays, which no model's metadata needs`);
    const count = this.count(`the length of ${what}`, { most: maxArrayElements, least: leastBytes[element] });
    this.#elements += count;
    if (this.#elements > maxElements) this.refuse(`the metadata's arrays have more than ${maxElements} elements`);
    const items: GgufScalar[] = [];
    for (let index = 0; index < count; index++) items.push(this.#scalar(element, what));
    return items;
  }

  #type(what: string): ValueType {
    const id = this.u32(`the type of ${what}`);
    return valueTypes[id] ?? this.refuse(`${what} has the unknown value type ${id}; known are 0 to 12`);
  }

  #scalar(type: Exclude<ValueType, 'array'>, what: string): GgufScalar {
    if (type === 'string') return this.string(what);
    const at = this.#take(leastBytes[type], what);
    const view = this.#view;
    switch (type) {
      case 'u8':
        return view.getUint8(at);
      case 'i8':
        return view.getInt8(at);
      case 'u16':
        return view.getUint16(at, true);
      case 'i16':
        return view.getInt16(at, true);
      case 'u32':
        return view.getUint32(at, true);
      case 'i32':
        return view.getInt32(at, true);
      case 'f32':
        return view.getFloat32(at, true);
      case 'f64':
        return view.getFloat64(at, true);
      case 'u64':
        return plain(view.getBigUint64(at, true));
      case 'i64':
        return plain(view.getBigInt64(at, true));
      case 'bool': {
        const byte = view.getUint8(at);
        return byte < 2 ? byte === 1 : this.refuse(`${what} is a truth value of ${byte}, expected 0 or 1`);
      }
    }
  }

  /** The position of the next `bytes` bytes, which are passed over. */
  #take(bytes: number, what: string): number {
    const begin = this.at;
    if (begin + bytes > this.#fileBytes) {
      this.refuse(`the file ends within ${what}; it was cut off. Download it again`);
    }
    if (begin + bytes > this.#bytes.length) throw new HeaderGoesOn();
    this.at += bytes;
    return begin;
  }
}
