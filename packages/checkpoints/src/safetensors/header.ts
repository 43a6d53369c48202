import { SafetensorsError } from '../errors.ts';
import type { ByteSource, ReadOptions } from '../sources/byte-source.ts';
import { dtypeBits, isSafetensorsDType, type SafetensorsDType } from './dtype.ts';
import { JsonNumber, parseStrictJson, type StrictJson } from './strict-json.ts';

/** One tensor of a safetensors file. `begin` and `end` are byte positions in the file, half open. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** What the header of a safetensors file says. */
export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly entries: readonly SafetensorsEntry[];
  /** `__metadata__`: free text by key. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** The format's own limit on the header, in bytes. */
export const maxHeaderBytes = 100_000_000;

const lengthBytes = 8;

/** Asked for at first: holds most headers whole, so that one request is enough. */
const firstReadBytes = 1 << 19;

/**
 * Reads the header of a safetensors file, and nothing of its data.
 *
 * @throws SafetensorsError when the file breaks the format: see {@link parseHeader}.
 */
export async function readHeader(
  source: ByteSource,
  path: string,
  options: ReadOptions = {},
): Promise<SafetensorsHeader> {
  const where = `${source.describe()}/${path}`;
  const fileBytes = await source.size(path, options);
  if (fileBytes < lengthBytes) {
    throw new SafetensorsError(`${where}: a safetensors file has at least ${lengthBytes} bytes, got ${fileBytes}.`);
  }
  const first = Math.min(fileBytes, firstReadBytes);
  let reader = await source.open(path, 0, first, options);
  try {
    const prefix = new Uint8Array(lengthBytes);
    await reader.read(prefix);
    const headerBytes = headerLength(prefix, fileBytes, where);
    if (lengthBytes + headerBytes > first) {
      await reader.close();
      reader = await source.open(path, lengthBytes, lengthBytes + headerBytes, options);
    }
    const header = new Uint8Array(headerBytes);
    await reader.read(header);
    return parseHeader(header, fileBytes, where);
  } finally {
    await reader.close();
  }
}

/** The header's length as its first 8 bytes give it, little-endian. */
function headerLength(prefix: Uint8Array, fileBytes: number, where: string): number {
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    throw new SafetensorsError(
      `${where}: the header is said to have ${length} bytes, at most ${maxHeaderBytes} are allowed. This is no safetensors file, or a damaged one.`,
    );
  }
  const headerBytes = Number(length);
  if (lengthBytes + headerBytes > fileBytes) {
    throw new SafetensorsError(
      `${where}: the header is said to have ${headerBytes} bytes, but the file has only ${fileBytes}. Download it again.`,
    );
  }
  return headerBytes;
}

/**
 * Parses the JSON header of a safetensors file of `fileBytes` bytes, by the rules of the official parser: no key twice, dtypes
 * known, dimensions and offsets plain integers, each tensor's bytes exactly `product(shape) * bits / 8`, and the tensors together
 * covering the data without hole, overlap or rest.
 *
 * @param header - The header alone, without its length.
 * @throws SafetensorsError that names the tensor and the rule.
 */
export function parseHeader(header: Uint8Array, fileBytes: number, where: string): SafetensorsHeader {
  const refuse = (why: string, cause?: unknown): never => {
    throw new SafetensorsError(`${where}: ${why}. The file is damaged or was not written by safetensors.`, { cause });
  };
  if (header[0] !== 0x7b) refuse('the header does not begin with "{"');
  let json: StrictJson;
  try {
    json = parseStrictJson(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header));
  } catch (cause) {
    return refuse(`the header is not valid JSON: ${(cause as Error).message}`, cause);
  }
  const dataBegin = lengthBytes + header.length;
  const metadata = new Map<string, string>();
  const entries: SafetensorsEntry[] = [];
  for (const [name, value] of json as Map<string, StrictJson>) {
    if (name === '__metadata__') readMetadata(value, metadata, refuse);
    else entries.push(parseEntry(name, value, dataBegin, refuse));
  }
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = dataBegin;
  for (const { name, begin, end } of entries) {
    if (begin !== covered) {
      refuse(
        `tensor ${quoted(name)} begins at byte ${begin - dataBegin} of the data, but ${covered - dataBegin} was expected: ` +
          `${begin < covered ? 'it overlaps another' : 'there is a hole before it'}`,
      );
    }
    covered = end;
  }
  if (covered !== fileBytes) {
    const have = fileBytes - dataBegin;
    refuse(`its tensors take ${covered - dataBegin} bytes, but the file has ${have} bytes of data`);
  }
  return { entries, metadata };
}

type Refuse = (why: string) => never;

function readMetadata(value: StrictJson, metadata: Map<string, string>, refuse: Refuse): void {
  if (value === null) return;
  if (!(value instanceof Map)) return refuse('__metadata__ must be an object of strings');
  for (const [key, text] of value) {
    if (typeof text !== 'string') return refuse(`__metadata__ must hold strings only, but ${quoted(key)} is none`);
    metadata.set(key, text);
  }
}

function parseEntry(name: string, value: StrictJson, dataBegin: number, refuse: Refuse): SafetensorsEntry {
  const tensor = `tensor ${quoted(name)}`;
  if (!(value instanceof Map)) return refuse(`${tensor} must be described by an object`);
  const dtype = value.get('dtype');
  if (typeof dtype !== 'string' || !isSafetensorsDType(dtype)) {
    return refuse(`${tensor} has the dtype ${shown(dtype)}, known are ${Object.keys(dtypeBits).join(', ')}`);
  }
  const shape = counts(value.get('shape'));
  if (!shape) return refuse(`${tensor} needs a shape of non-negative integers, got ${shown(value.get('shape'))}`);
  const offsets = counts(value.get('data_offsets'));
  if (offsets?.length !== 2) {
    return refuse(`${tensor} needs data_offsets of two non-negative integers, got ${shown(value.get('data_offsets'))}`);
  }
  const [begin, end] = offsets as [number, number];
  if (end < begin) return refuse(`${tensor} has data_offsets that end before they begin: ${begin} to ${end}`);
  let elements = 1;
  for (const size of shape) {
    elements *= size;
    if (!Number.isSafeInteger(elements)) return refuse(`${tensor} has an absurd shape [${shape.join(', ')}]`);
  }
  const bits = elements * dtypeBits[dtype];
  if (!Number.isSafeInteger(bits)) return refuse(`${tensor} has an absurd shape [${shape.join(', ')}]`);
  if (bits % 8 !== 0) return refuse(`${tensor} of ${dtype} does not fill whole bytes`);
  if (end - begin !== bits / 8) {
    return refuse(
      `${tensor} of ${dtype} [${shape.join(', ')}] takes ${bits / 8} bytes, but its data_offsets span ${end - begin}`,
    );
  }
  return { name, dtype, shape, begin: dataBegin + begin, end: dataBegin + end };
}

function counts(value: StrictJson | undefined): number[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const numbers = value.map((item) => (item instanceof JsonNumber ? item.count : undefined));
  return numbers.every((item) => item !== undefined) ? numbers : undefined;
}

function shown(value: StrictJson | undefined): string {
  if (value === undefined) return 'none';
  if (value instanceof JsonNumber) return value.text;
  if (Array.isArray(value)) return `[${value.slice(0, 8).map(shown).join(', ')}${value.length > 8 ? ', …' : ''}]`;
  if (value instanceof Map) return 'an object';
  return JSON.stringify(value).slice(0, 120);
}

function quoted(name: string): string {
  return JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}…` : name);
}
