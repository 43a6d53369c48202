import { ConfigFileError } from '../errors.ts';
import type { ByteSource, ReadOptions } from './byte-source.ts';

/**
 * A small text file of a checkpoint.
 *
 * @throws ConfigFileError when the bytes are not UTF-8.
 */
export async function readWholeText(
  source: ByteSource,
  path: string,
  options: ReadOptions & { maxBytes: number },
): Promise<string> {
  const bytes = await source.readWhole(path, options);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new ConfigFileError(
      `${source.describe()}/${path}: expected UTF-8 text. The file is damaged; download it again.`,
      { cause },
    );
  }
}

/**
 * A JSON file of a checkpoint whose top is an object. Python's `Infinity` is understood, since configurations are written by it.
 *
 * @throws ConfigFileError when the file is no such JSON.
 */
export async function readJsonObject(
  source: ByteSource,
  path: string,
  options: ReadOptions & { maxBytes: number },
): Promise<Record<string, unknown>> {
  const where = `${source.describe()}/${path}`;
  const text = await readWholeText(source, path, options);
  let json: unknown;
  try {
    json = JSON.parse(withoutInfinity(text));
  } catch (cause) {
    throw new ConfigFileError(`${where}: expected JSON (${(cause as Error).message}). Download the file again.`, {
      cause,
    });
  }
  if (json === null || typeof json !== 'object' || Array.isArray(json)) {
    const kind = json === null ? 'null' : Array.isArray(json) ? 'an array' : typeof json;
    throw new ConfigFileError(
      `${where}: expected a JSON object, got ${kind}. This is not the file that it is named as.`,
    );
  }
  return json as Record<string, unknown>;
}

/** Bare `Infinity` becomes a number that overflows to it; text inside of strings stays as it is. */
function withoutInfinity(text: string): string {
  if (!text.includes('Infinity')) return text;
  return text.replace(/"(?:[^"\\]|\\.)*"|\bInfinity\b/g, (match) => (match === 'Infinity' ? '1e999' : match));
}
