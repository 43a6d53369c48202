import { TorchFileError } from '../errors.ts';
import type { ByteSource, ReadOptions } from '../sources/byte-source.ts';

/** One stored file of a zip archive: where its bytes lie in the archive, half open. */
export interface ZipEntry {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
}

const endBytes = 22;
const locatorBytes = 20;
const end64Bytes = 56;
const localHeaderBytes = 30;
const longestComment = 0xffff;
/** More than any checkpoint has; a directory of more is no directory. */
const maxDirectoryBytes = 64 << 20;
const maxEntries = 1 << 20;

const signatures = { end: 0x06054b50, locator: 0x07064b50, end64: 0x06064b50, central: 0x02014b50, local: 0x04034b50 };

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * The directory of a zip archive whose files are stored, not compressed: what `torch.save` writes. Every offset is held against the
 * file's size; names are not used as paths.
 *
 * @throws TorchFileError when the file is no such archive. Source: APPNOTE.TXT of PKWARE, sections 4.3.6 to 4.3.16.
 */
export class ZipDirectory {
  readonly #source: ByteSource;
  readonly #path: string;
  readonly #fileBytes: number;
  readonly #headers: ReadonlyMap<string, { readonly offset: number; readonly bytes: number }>;

  private constructor(
    source: ByteSource,
    path: string,
    parts: { fileBytes: number; headers: ReadonlyMap<string, { offset: number; bytes: number }> },
  ) {
    this.#source = source;
    this.#path = path;
    this.#fileBytes = parts.fileBytes;
    this.#headers = parts.headers;
  }

  static async read(source: ByteSource, path: string, options: ReadOptions = {}): Promise<ZipDirectory> {
    const where = `${source.describe()}/${path}`;
    const fileBytes = await source.size(path, options);
    const tailBegin = Math.max(0, fileBytes - endBytes - longestComment - locatorBytes);
    const tail = await source.read(path, tailBegin, fileBytes, options);
    const endAt = lastEnd(tail);
    if (endAt < 0) {
      throw new TorchFileError(
        `${where}: expected a zip archive as torch.save writes since PyTorch 1.6, found none. ${conversionAdvice(path)}`,
      );
    }
    const tailView = view(tail);
    let [bytes, begin] = [tailView.getUint32(endAt + 12, true), tailView.getUint32(endAt + 16, true)];
    const locatorAt = endAt - locatorBytes;
    if (locatorAt >= 0 && tailView.getUint32(locatorAt, true) === signatures.locator) {
      const at = integer64(tailView, locatorAt + 8);
      checkInside(where, [at, at + end64Bytes], fileBytes);
      const end64 = view(await source.read(path, at, at + end64Bytes, options));
      if (end64.getUint32(0, true) !== signatures.end64) throw damaged(where, 'its zip64 end record is missing');
      [bytes, begin] = [integer64(end64, 40), integer64(end64, 48)];
    }
    checkInside(where, [begin, begin + bytes], fileBytes);
    if (bytes > maxDirectoryBytes) throw damaged(where, `its directory claims ${bytes} bytes`);
    const headers = centralHeaders(where, await source.read(path, begin, begin + bytes, options));
    return new ZipDirectory(source, path, { fileBytes, headers });
  }

  /** Names in the order of the directory. */
  get names(): readonly string[] {
    return [...this.#headers.keys()];
  }

  /** Where a file's bytes lie. */
  async entry(name: string, options: ReadOptions = {}): Promise<ZipEntry> {
    const where = `${this.#source.describe()}/${this.#path}`;
    const header = this.#headers.get(name);
    if (!header) throw damaged(where, `it has no file ${JSON.stringify(name.slice(0, 100))}`);
    const { offset, bytes } = header;
    checkInside(where, [offset, offset + localHeaderBytes], this.#fileBytes);
    const local = view(await this.#source.read(this.#path, offset, offset + localHeaderBytes, options));
    if (local.getUint32(0, true) !== signatures.local) throw damaged(where, `the header of ${name} is missing`);
    const begin = offset + localHeaderBytes + local.getUint16(26, true) + local.getUint16(28, true);
    checkInside(where, [begin, begin + bytes], this.#fileBytes);
    return { name, begin, end: begin + bytes };
  }
}

/** How to make a file that can be read of one that cannot. */
export function conversionAdvice(path: string): string {
  return (
    'Only tensors are read and no code is run. Convert it where you trust it, in Python: ' +
    `import torch, safetensors.torch as s; s.save_file({k: v.contiguous().clone() for k, v in torch.load(${JSON.stringify(path)}, map_location="cpu", weights_only=True).items()}, "model.safetensors")`
  );
}

function damaged(where: string, why: string): TorchFileError {
  return new TorchFileError(`${where}: damaged zip archive: ${why}. Download the file again.`);
}

function checkInside(where: string, [begin, end]: readonly [number, number], fileBytes: number): void {
  if (begin >= 0 && end >= begin && end <= fileBytes) return;
  throw damaged(where, `bytes ${begin} to ${end} are named, the file has ${fileBytes}`);
}

function lastEnd(tail: Uint8Array): number {
  const words = view(tail);
  for (let at = tail.length - endBytes; at >= 0; at--) {
    if (words.getUint32(at, true) === signatures.end && at + endBytes + words.getUint16(at + 20, true) === tail.length)
      return at;
  }
  return -1;
}

function integer64(words: DataView, at: number): number {
  const value = words.getBigUint64(at, true);
  return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
}

function centralHeaders(where: string, bytes: Uint8Array): Map<string, { offset: number; bytes: number }> {
  const words = view(bytes);
  const headers = new Map<string, { offset: number; bytes: number }>();
  const names = new TextDecoder('utf-8', { fatal: false });
  for (let at = 0; at < bytes.length;) {
    if (at + 46 > bytes.length || words.getUint32(at, true) !== signatures.central)
      throw damaged(where, 'its directory is cut off');
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => words.getUint16(at + field, true)) as [
      number,
      number,
      number,
    ];
    const extraAt = at + 46 + nameBytes;
    const next = extraAt + extraBytes + commentBytes;
    if (next > bytes.length) throw damaged(where, 'its directory is cut off');
    const name = names.decode(bytes.subarray(at + 46, extraAt));
    const flags = words.getUint16(at + 8, true);
    const method = words.getUint16(at + 10, true);
    const sizes = { stored: words.getUint32(at + 20, true), whole: words.getUint32(at + 24, true) };
    const offset = words.getUint32(at + 42, true);
    const wide = wideFields(words, { at: extraAt, end: extraAt + extraBytes }, [sizes.whole, sizes.stored, offset]);
    if (method !== 0 || (flags & 1) !== 0 || wide[0] !== wide[1])
      throw damaged(
        where,
        `${JSON.stringify(name.slice(0, 100))} is compressed or encrypted, torch.save stores files as they are`,
      );
    if (headers.has(name)) throw damaged(where, `it has two files ${JSON.stringify(name.slice(0, 100))}`);
    if (headers.size >= maxEntries) throw damaged(where, `it has more than ${maxEntries} files`);
    headers.set(name, { bytes: wide[0]!, offset: wide[2]! });
    at = next;
  }
  return headers;
}

/** Whole size, stored size and offset, of which those that do not fit 32 bits stand in the zip64 extra field. */
function wideFields(
  words: DataView,
  extra: { readonly at: number; readonly end: number },
  fields: readonly number[],
): number[] {
  for (let at = extra.at; at + 4 <= extra.end;) {
    const [kind, length] = [words.getUint16(at, true), words.getUint16(at + 2, true)];
    if (kind === 1) {
      let next = at + 4;
      const end = Math.min(next + length, extra.end);
      return fields.map((field) => {
        if (field !== 0xffff_ffff || next + 8 > end) return field;
        next += 8;
        return integer64(words, next - 8);
      });
    }
    at += 4 + length;
  }
  return [...fields];
}
