import { GgufError } from '../errors.ts';
import type { ByteSource, ReadOptions } from '../sources/byte-source.ts';
import { Cursor, type GgufValue, HeaderGoesOn } from './cursor.ts';
import { blockSize, type GgufTensorType, isTensorType, supportedTypes, typeName } from './types.ts';

/** One tensor of a GGUF file. `begin` and `end` are byte positions in the file, half open. */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgufTensorType;
  /** Outermost dimension first, as everywhere else: `[N, K]`. The file lists them the other way round. */
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** What the header of a GGUF file says. */
export interface GgufHeader {
  readonly version: number;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** In the order of their bytes. */
  readonly tensors: readonly GgufTensor[];
}

const firstReadBytes = 1 << 20;
/** The largest header that is read; vocabularies of 250,000 tokens take about 12 MB. */
const maxHeaderBytes = 128 << 20;
const maxEntries = 65_536;
const maxTensors = 65_536;
const maxKeyBytes = 65_535;
/** As the format says. */
const maxNameBytes = 64;
const maxDimensions = 4;
const defaultAlignment = 32;
const maxAlignment = 1 << 16;

/**
 * Reads the header of a GGUF file, and nothing of its tensors.
 *
 * @throws GgufError when the file breaks the format or uses what is not supported: see {@link parseGguf}.
 */
export async function readGguf(source: ByteSource, path: string, options: ReadOptions = {}): Promise<GgufHeader> {
  const where = `${source.describe()}/${path}`;
  const fileBytes = await source.size(path, options);
  let bytes = new Uint8Array(0);
  for (let wanted = firstReadBytes; ; wanted *= 4) {
    const longer = new Uint8Array(Math.min(wanted, fileBytes, maxHeaderBytes));
    longer.set(bytes);
    longer.set(await source.read(path, bytes.length, longer.length, options), bytes.length);
    bytes = longer;
    try {
      return parseGguf(bytes, fileBytes, where);
    } catch (cause) {
      if (!(cause instanceof HeaderGoesOn)) throw cause;
      if (bytes.length === maxHeaderBytes) {
        throw new GgufError(`${where}: the header has more than ${maxHeaderBytes} bytes, which no model needs.`);
      }
    }
  }
}

/**
 * Parses the header of a GGUF file of `fileBytes` bytes: versions 2 and 3, little-endian. Keys and names stand once, values are scalars,
 * strings or flat arrays, tensors are of a type that is read, aligned, inside of the file and apart from each other.
 *
 * @param bytes - The file's beginning, at least its header.
 * @throws GgufError
 * @see https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
 */
export function parseGguf(bytes: Uint8Array, fileBytes: number, where: string): GgufHeader {
  const cursor = new Cursor(bytes, fileBytes, where);
  const magic = cursor.u32('the magic number');
  if (magic !== 0x4655_4747) cursor.refuse('a GGUF file begins with "GGUF", this one does not. Name another file');
  const version = cursor.u32('the version');
  if (version !== 2 && version !== 3) {
    const swapped = (version & 0xffff) === 0 && version !== 0;
    cursor.refuse(
      swapped
        ? 'it was written for big-endian machines; convert it to a little-endian one'
        : `GGUF version ${version} is not supported, versions 2 and 3 are; convert the model again`,
    );
  }
  const tensorCount = cursor.count('the number of tensors', { most: maxTensors, least: 24 });
  const entryCount = cursor.count('the number of metadata entries', { most: maxEntries, least: 13 });
  const metadata = new Map<string, GgufValue>();
  for (let index = 0; index < entryCount; index++) {
    const key = cursor.string(`the key of metadata entry ${index}`, maxKeyBytes);
    if (metadata.has(key)) cursor.refuse(`the metadata has ${quoted(key)} twice`);
    metadata.set(key, cursor.value(`the metadata's ${quoted(key)}`));
  }
  const alignment = alignmentOf(metadata, cursor);
  const described = Array.from({ length: tensorCount }, (_, index) => describeTensor(cursor, index));
  const dataBegin = Math.ceil(cursor.at / alignment) * alignment;
  return { version, metadata, tensors: placeTensors(described, { cursor, dataBegin, alignment, fileBytes }) };
}

function alignmentOf(metadata: ReadonlyMap<string, GgufValue>, cursor: Cursor): number {
  const alignment = metadata.get('general.alignment') ?? defaultAlignment;
  if (typeof alignment === 'number' && alignment >= 1 && alignment <= maxAlignment && Number.isInteger(alignment)) {
    if ((alignment & (alignment - 1)) === 0) return alignment;
  }
  return cursor.refuse(`general.alignment is ${shown(alignment)}, expected a power of two up to ${maxAlignment}`);
}

interface DescribedTensor {
  readonly name: string;
  readonly type: GgufTensorType;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** From the beginning of the data. */
  readonly offset: bigint;
}

function describeTensor(cursor: Cursor, index: number): DescribedTensor {
  const name = cursor.string(`the name of tensor ${index}`, maxNameBytes);
  const what = `tensor ${quoted(name)}`;
  const dimensions = cursor.u32(`the number of dimensions of ${what}`);
  if (dimensions < 1 || dimensions > maxDimensions) {
    cursor.refuse(`${what} has ${dimensions} dimensions, expected 1 to ${maxDimensions}`);
  }
  const sizes = Array.from({ length: dimensions }, () => cursor.u64(`the dimensions of ${what}`));
  const id = cursor.u32(`the type of ${what}`);
  const type = typeName(id);
  if (type === undefined || !isTensorType(type)) {
    const called = type ?? `of the unknown type ${id}`;
    return cursor.refuse(
      `${what} is ${called}; read are ${supportedTypes.join(', ')}. Quantise the model to one of these`,
    );
  }
  const offset = cursor.u64(`the offset of ${what}`);
  const elements = sizes.reduce((product, size) => product * size, 1n);
  if (elements === 0n || elements > BigInt(Number.MAX_SAFE_INTEGER)) {
    cursor.refuse(`${what} has the absurd shape [${sizes.toReversed().join(', ')}]`);
  }
  const block = blockSize(type);
  const [width] = sizes as [bigint, ...bigint[]];
  if (width % BigInt(block.values) !== 0n) {
    cursor.refuse(`${what} has rows of ${width}, which are no whole blocks of ${block.values} values of ${type}`);
  }
  const bytes = (Number(elements) / block.values) * block.bytes;
  return { name, type, shape: sizes.map(Number).reverse(), bytes, offset };
}

function placeTensors(
  described: readonly DescribedTensor[],
  place: { cursor: Cursor; dataBegin: number; alignment: number; fileBytes: number },
): GgufTensor[] {
  const { cursor, dataBegin, alignment, fileBytes } = place;
  const names = new Set<string>();
  const tensors = described.map(({ name, type, shape, bytes, offset }) => {
    if (names.has(name)) cursor.refuse(`tensor ${quoted(name)} is there twice`);
    names.add(name);
    if (offset % BigInt(alignment) !== 0n) {
      cursor.refuse(`tensor ${quoted(name)} begins at byte ${offset} of the data, no multiple of ${alignment}`);
    }
    // Compared before it becomes a number, which would round it.
    if (offset > BigInt(fileBytes) || dataBegin + Number(offset) + bytes > fileBytes) {
      cursor.refuse(
        `tensor ${quoted(name)} needs ${bytes} bytes from byte ${offset} of the data, past the end of the file; it was cut off or is damaged. Download it again`,
      );
    }
    const begin = dataBegin + Number(offset);
    return { name, type, shape, begin, end: begin + bytes };
  });
  tensors.sort((a, b) => a.begin - b.begin || a.end - b.end);
  tensors.forEach((tensor, index) => {
    const before = tensors[index - 1];
    if (before && tensor.begin < before.end) {
      cursor.refuse(`tensors ${quoted(before.name)} and ${quoted(tensor.name)} overlap`);
    }
  });
  return tensors;
}

function shown(value: GgufValue): string {
  return Array.isArray(value) ? 'an array' : quoted(String(value));
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
}
