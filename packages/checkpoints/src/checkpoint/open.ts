import { ArgumentError } from '@forerun/tensor';
import { FileMissingError, ShardIndexError } from '../errors.ts';
import { openGguf } from '../gguf/open-gguf.ts';
import { readHeader, type SafetensorsHeader } from '../safetensors/header.ts';
import { checkShards, readShardIndex } from '../safetensors/shard-index.ts';
import type { ByteSource, ReadOptions } from '../sources/byte-source.ts';
import { isTorchFile, readTorchHeader } from '../torch/torch-file.ts';
import { weightPolicies, type WeightPolicy } from '../weights/weights.ts';
import { Checkpoint, type CheckpointTensor } from './checkpoint.ts';

/** How a checkpoint is opened. */
export interface OpenOptions {
  /**
   * Device format of matrices: `as-is` keeps what is stored (F32, F16, BF16, blocks of a GGUF file), the others convert on
   * the way in. Vectors (norms, biases) are always f32. Default `as-is`.
   */
  readonly weights?: WeightPolicy;
  /**
   * The safetensors, GGUF or PyTorch file (`.pt`, `.pth`, `.bin`: its tensors are read, no code of it is run), or the index of a
   * sharded checkpoint. Default: the first of `model.safetensors`, `model.safetensors.index.json` and `pytorch_model.bin` that is there,
   * else the only `.gguf` file, where the source can list its files.
   */
  readonly file?: string;
  readonly signal?: AbortSignal | undefined;
}

/** Headers read at the same time, so that a checkpoint of many shards on a far server opens soon. */
const headersAtOnce = 6;

/**
 * Opens a checkpoint, single or sharded, reading its headers only. A GGUF file is its own configuration and tokenizer too.
 *
 * @throws FileMissingError when there is no file of tensors; SafetensorsError, GgufError, TorchFileError or ShardIndexError when one is
 *   damaged or hostile; AbortedError; the source's errors.
 */
export async function openCheckpoint(source: ByteSource, options: OpenOptions = {}): Promise<Checkpoint> {
  const { weights: policy = 'as-is', signal } = options;
  if (!weightPolicies.includes(policy)) {
    throw new ArgumentError(
      `Expected weights to be one of ${weightPolicies.join(', ')}, got ${JSON.stringify(policy)}.`,
    );
  }
  const file = options.file ?? (await findFile(source, signal));
  if (isGguf(file)) return openGguf(source, file, { policy, signal });
  const headers = file.endsWith('.json')
    ? await readShards(source, file, signal)
    : new Map([[file, await headerOf(source, file, { signal })]]);
  const tensors = new Map<string, CheckpointTensor>();
  const metadata = new Map<string, string>();
  for (const [shard, header] of headers) {
    for (const entry of header.entries) tensors.set(entry.name, { ...entry, file: shard });
    for (const [key, text] of header.metadata) if (!metadata.has(key)) metadata.set(key, text);
  }
  const files = [...headers.keys()];
  return new Checkpoint({
    source,
    tensors,
    files,
    metadata,
    policy,
    versions: await versionsOf(source, files, signal),
  });
}

function headerOf(source: ByteSource, file: string, options: ReadOptions): Promise<SafetensorsHeader> {
  return isTorchFile(file) ? readTorchHeader(source, file, options) : readHeader(source, file, options);
}

async function versionsOf(
  source: ByteSource,
  files: readonly string[],
  signal: AbortSignal | undefined,
): Promise<Map<string, string>> {
  const versions = new Map<string, string>();
  for (const file of files) {
    const version = await source.version(file, { signal });
    if (version !== undefined) versions.set(file, version);
  }
  return versions;
}

function isGguf(path: string): boolean {
  return path.toLowerCase().endsWith('.gguf');
}

async function findFile(source: ByteSource, signal: AbortSignal | undefined): Promise<string> {
  for (const path of ['model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin']) {
    if (await source.exists(path, { signal })) return path;
  }
  const found = ((await source.list?.({ signal })) ?? []).filter(isGguf);
  if (found.length === 1) return found[0]!;
  if (found.length > 1) {
    throw new FileMissingError(
      `${source.describe()} has several GGUF files: ${found.slice(0, 8).join(', ')}. Name the one that is meant.`,
    );
  }
  throw new FileMissingError(
    `${source.describe()} has neither model.safetensors nor model.safetensors.index.json nor pytorch_model.bin, nor a GGUF file. Give the right folder, or name the file; weights in other formats have to be converted to safetensors first.`,
  );
}

async function readShards(
  source: ByteSource,
  indexFile: string,
  signal: AbortSignal | undefined,
): Promise<Map<string, SafetensorsHeader>> {
  const where = `${source.describe()}/${indexFile}`;
  const index = await readShardIndex(source, indexFile, { signal });
  // Shards stand beside their index, also where that is not at the top of the source.
  const folder = indexFile.slice(0, indexFile.lastIndexOf('/') + 1);
  const shards = [...index.keys()].sort();
  const headers = new Map<string, SafetensorsHeader>();
  const failed = new AbortController();
  const linked = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  const queue = shards.values();
  const worker = async (): Promise<void> => {
    for (const shard of queue) {
      try {
        headers.set(shard, await headerOf(source, folder + shard, { signal: linked }));
      } catch (cause) {
        failed.abort();
        if (!(cause instanceof FileMissingError)) throw cause;
        throw new ShardIndexError(
          `${where} names the shard ${shard}, which does not exist. Download the missing file.`,
          { cause },
        );
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: Math.min(headersAtOnce, shards.length) }, worker));
  const failures = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
  // Workers that were stopped by another's failure report an abort, which is not the reason.
  const reason = failures.find((failure) => (failure as { code?: string }).code !== 'aborted') ?? failures[0];
  if (reason !== undefined) throw reason;
  checkShards(index, headers, where);
  return new Map(shards.map((shard) => [folder + shard, headers.get(shard)!]));
}
