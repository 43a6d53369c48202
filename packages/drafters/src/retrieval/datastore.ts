import { ArgumentError, ForerunError } from '@forerun/tensor';
import { suffixArray } from './suffix-array.ts';

/** Token that ends every document of a datastore; no vocabulary has it. */
export const separator = 0xffff_ffff;

/** Most tokens of a datastore, separators included: an index of them is one binding of 128 MiB. */
export const maxDatastoreTokens = 2 ** 25;

/** Text to guess from, and its index. */
export interface Datastore {
  /** `[T]` u32: the documents, each with a separator behind it. */
  readonly tokens: Uint32Array<ArrayBuffer>;
  /** `[T]` u32: positions of all suffixes of `tokens`, in the order of the suffixes. */
  readonly suffixes: Uint32Array<ArrayBuffer>;
}

/** Bytes that are no datastore, or of one that is damaged. */
export class DatastoreError extends ForerunError {
  constructor(message: string) {
    super('datastore', message);
  }
}

/**
 * Indexes text for `retrieval`: one document, or many between which no continuation reaches. Takes about a second a million tokens
 * and is meant to be done once; {@link datastoreBytes} gives what to keep.
 *
 * @param documents - Tokens, u32 below 2^32 - 1
 * @throws {@link ArgumentError} for text without tokens, with more than {@link maxDatastoreTokens}, or with what is no token
 */
export function buildDatastore(documents: ArrayLike<number> | readonly ArrayLike<number>[]): Datastore {
  const list = Array.isArray(documents) && typeof documents[0] === 'object' ? documents : [documents];
  const parts = (list as readonly ArrayLike<number>[]).filter(({ length }) => length > 0);
  const total = parts.reduce((sum, { length }) => sum + length + 1, 0);
  if (total === 0 || total > maxDatastoreTokens) {
    throw new ArgumentError(
      `buildDatastore: expected from 1 to ${maxDatastoreTokens} tokens, a separator behind each document included, got ${total}. Split larger text.`,
    );
  }
  const tokens = new Uint32Array(total).fill(separator);
  let begin = 0;
  for (const part of parts) {
    for (let i = 0; i < part.length; i++) {
      const token = part[i]!;
      if (token >>> 0 !== token || token === separator) {
        throw new ArgumentError(`buildDatastore: tokens are integers from 0 to 2^32 - 2, got ${token}.`);
      }
      tokens[begin + i] = token;
    }
    begin += part.length + 1;
  }
  return { tokens, suffixes: suffixArray(tokens) };
}

const magic = 0x5446_5244;
const version = 1;
const headerBytes = 16;

/** A datastore as bytes: 16 of header, then tokens and suffixes as little-endian u32. */
export function datastoreBytes({ tokens, suffixes }: Datastore): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(headerBytes + 8 * tokens.length);
  const view = new DataView(bytes.buffer);
  [magic, version, tokens.length, 0].forEach((word, i) => view.setUint32(4 * i, word, true));
  tokens.forEach((token, i) => view.setUint32(headerBytes + 4 * i, token, true));
  suffixes.forEach((suffix, i) => view.setUint32(headerBytes + 4 * (tokens.length + i), suffix, true));
  return bytes;
}

/**
 * Reads what {@link datastoreBytes} wrote.
 *
 * @throws {@link DatastoreError} for bytes of another kind, version or length, and for an index that does not belong to the text
 */
export function readDatastore(bytes: Uint8Array): Datastore {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.byteLength < headerBytes || view.getUint32(0, true) !== magic) {
    throw new DatastoreError('Expected the bytes of a datastore, got others. Build one with buildDatastore.');
  }
  const found = view.getUint32(4, true);
  if (found !== version) {
    throw new DatastoreError(`Expected a datastore of version ${version}, got version ${found}. Build it again.`);
  }
  const length = view.getUint32(8, true);
  if (length === 0 || length > maxDatastoreTokens || bytes.byteLength !== headerBytes + 8 * length) {
    throw new DatastoreError(
      `A datastore of ${length} tokens takes ${headerBytes + 8 * length} bytes, got ${bytes.byteLength}. Copy or build it again.`,
    );
  }
  const words = (begin: number) =>
    Uint32Array.from({ length }, (_, i) => view.getUint32(headerBytes + 4 * (begin + i), true));
  const [tokens, suffixes] = [words(0), words(length)];
  const seen = new Uint8Array(length);
  for (const suffix of suffixes) if (suffix < length) seen[suffix] = 1;
  const sorted = suffixes.every((suffix, i) => i === 0 || tokens[suffixes[i - 1]!]! <= tokens[suffix]!);
  if (tokens.at(-1) !== separator || seen.includes(0) || !sorted) {
    throw new DatastoreError('The index of the datastore does not belong to its text. Copy or build it again.');
  }
  return { tokens, suffixes };
}
