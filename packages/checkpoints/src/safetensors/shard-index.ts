import { ShardIndexError } from '../errors.ts';
import { readWholeText } from '../sources/text.ts';
import type { ByteSource, ReadOptions } from '../sources/byte-source.ts';
import { pathSegments } from '../sources/path.ts';
import type { SafetensorsHeader } from './header.ts';
import { parseStrictJson, type StrictJson } from './strict-json.ts';

const maxIndexBytes = 64 << 20;
const maxShards = 10_000;

/**
 * Reads the index of a sharded checkpoint: which file holds which tensor.
 *
 * @returns Tensor names by shard file.
 * @throws ShardIndexError when the index is malformed, or names a file that is not a relative `.safetensors` path.
 */
export async function readShardIndex(
  source: ByteSource,
  path: string,
  options: ReadOptions = {},
): Promise<ReadonlyMap<string, ReadonlySet<string>>> {
  const text = await readWholeText(source, path, { ...options, maxBytes: maxIndexBytes });
  return parseShardIndex(text, `${source.describe()}/${path}`);
}

/** Parses the text of `model.safetensors.index.json`; see {@link readShardIndex}. */
export function parseShardIndex(text: string, where: string): ReadonlyMap<string, ReadonlySet<string>> {
  const refuse = (why: string, cause?: unknown): never => {
    throw new ShardIndexError(`${where}: ${why}. Download the index again, from where the shards come from.`, {
      cause,
    });
  };
  let json: StrictJson;
  try {
    json = parseStrictJson(text);
  } catch (cause) {
    return refuse(`the index is not valid JSON: ${(cause as Error).message}`, cause);
  }
  const map = json instanceof Map ? json.get('weight_map') : undefined;
  if (!(map instanceof Map) || map.size === 0)
    return refuse('expected an object "weight_map" of tensor names and file names');
  const shards = new Map<string, Set<string>>();
  for (const [name, file] of map) {
    if (typeof file !== 'string')
      return refuse(`the file of tensor ${JSON.stringify(name.slice(0, 120))} is not a string`);
    let names = shards.get(file);
    if (!names) {
      checkShardName(file, refuse);
      names = new Set();
      shards.set(file, names);
      if (shards.size > maxShards) refuse(`more than ${maxShards} shards`);
    }
    names.add(name);
  }
  return shards;
}

function checkShardName(file: string, refuse: (why: string, cause?: unknown) => never): void {
  try {
    pathSegments(file);
  } catch (cause) {
    refuse(`a shard has an unsafe name. ${(cause as Error).message}`, cause);
  }
  if (!file.endsWith('.safetensors')) refuse(`shard ${JSON.stringify(file)} is not named *.safetensors`);
}

/**
 * Checks that every shard holds exactly the tensors that the index promises of it.
 *
 * @throws ShardIndexError that names the first tensors in question.
 */
export function checkShards(
  index: ReadonlyMap<string, ReadonlySet<string>>,
  headers: ReadonlyMap<string, SafetensorsHeader>,
  where: string,
): void {
  const absent: string[] = [];
  const unlisted: string[] = [];
  for (const [file, promised] of index) {
    const held = new Set(headers.get(file)!.entries.map(({ name }) => name));
    for (const name of promised) if (!held.has(name)) absent.push(`${name} (${file})`);
    for (const name of held) if (!promised.has(name)) unlisted.push(`${name} (${file})`);
  }
  if (absent.length + unlisted.length === 0) return;
  const some = (names: string[]): string =>
    `${names.slice(0, 5).join(', ')}${names.length > 5 ? ` and ${names.length - 5} more` : ''}`;
  const parts = [
    ...(absent.length > 0 ? [`in the index but not in their shard: ${some(absent)}`] : []),
    ...(unlisted.length > 0 ? [`in a shard but not listed for it: ${some(unlisted)}`] : []),
  ];
  throw new ShardIndexError(
    `${where} does not fit its shards: ${parts.join('; ')}. The files are from different checkpoints.`,
  );
}
