import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { seededBytes } from './write-safetensors.ts';

const shards = 4;
const matrixBytes = 39 << 20;
const tensorsPerShard = 2;
let folder: string;

/** A checkpoint of 312 MiB: four shards of two bf16 matrices each. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'forerun-flat-'));
  const weightMap: Record<string, string> = {};
  const block = seededBytes(1 << 20, 11);
  for (let shard = 0; shard < shards; shard++) {
    const file = `model-0000${shard + 1}-of-0000${shards}.safetensors`;
    const header: Record<string, unknown> = {};
    for (let index = 0; index < tensorsPerShard; index++) {
      const name = `model.layers.${shard * tensorsPerShard + index}.mlp.up_proj.weight`;
      header[name] = {
        dtype: 'BF16',
        shape: [matrixBytes / 2 / 1024, 1024],
        data_offsets: [index * matrixBytes, (index + 1) * matrixBytes],
      };
      weightMap[name] = file;
    }
    const text = new TextEncoder().encode(JSON.stringify(header));
    const handle = await open(join(folder, file), 'w');
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(text.length));
    await handle.write(length);
    await handle.write(text);
    for (let piece = 0; piece < (tensorsPerShard * matrixBytes) >> 20; piece++) {
      block[0] = piece;
      await handle.write(block);
    }
    await handle.close();
  }
  await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ weight_map: weightMap }));
});
afterAll(() => rm(folder, { recursive: true }));

test.each([
  ['folder', 64],
  ['folder', 16],
  ['http', 16],
  ['cache', 16],
])('312 MiB from %s in slices of %i MiB leave host memory flat', async (kind, sliceMiB) => {
  const program = join(import.meta.dirname, 'measure-stream.ts');
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    '--conditions=@forerun/source',
    '--experimental-strip-types',
    '--no-warnings',
    program,
    folder,
    kind,
    String(sliceMiB),
  ]);
  const measured = JSON.parse(stdout) as { bytes: number; peakBytes: number; slices: number };
  expect(measured.bytes).toBe(shards * tensorsPerShard * matrixBytes);
  expect(measured.slices).toBe(shards * tensorsPerShard * Math.ceil(39 / sliceMiB));
  // Two slices, and what the connection (both of its ends) or the cache's block holds.
  const slackMiB = { folder: 8, http: 64, cache: 80 }[kind]!;
  const allowedMiB = 2 * Math.min(sliceMiB, 39) + slackMiB;
  expect(measured.peakBytes / (1 << 20)).toBeLessThan(allowedMiB);
});
