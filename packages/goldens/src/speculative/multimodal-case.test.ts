/** Cases of checkpoints that keep their language model and its settings apart, as multimodal ones do. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testDevice } from '@forerun/tensor/harness';
import { checkSpeculative } from 'forerun/check';
import { expect, onTestFinished, test } from 'vitest';

const device = await testDevice();
const fixture = fileURLToPath(new URL('../../fixtures/speculative/mtp-qwen3-5', import.meta.url));

/** A safetensors file under other names. */
function renamed(file: Buffer, name: (old: string) => string): Buffer {
  const headerEnd = 8 + Number(file.readBigUInt64LE());
  const entries = Object.entries(JSON.parse(file.toString('utf8', 8, headerEnd)) as Record<string, unknown>);
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries.map(([old, entry]) => [name(old), entry]))));
  const padding = Buffer.alloc((8 - (header.length % 8)) % 8, ' ');
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(header.length + padding.length));
  return Buffer.concat([size, header, padding, file.subarray(headerEnd)]);
}

test('a module of a multimodal checkpoint holds, and misses with another embedding', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'forerun-case-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const inside = (file: string) => join(folder, 'mtp-qwen3-5', file);
  await cp(fixture, inside(''), { recursive: true });
  const apart = (old: string) => old.replace(/^model\./, 'model.language_model.');
  const weights = renamed(await readFile(join(fixture, 'model.safetensors')), apart);
  await writeFile(inside('model.safetensors'), weights);
  const settings = JSON.parse(await readFile(join(fixture, 'config.json'), 'utf8')) as object;
  await writeFile(inside('config.json'), JSON.stringify({ model_type: 'qwen3_5', text_config: settings }));
  expect((await checkSpeculative(folder, device)).cases).toEqual([{ name: 'mtp-qwen3-5' }]);

  const [head, table] = ['lm_head.weight', apart('model.embed_tokens.weight')];
  const swapped = new Map([
    [head, table],
    [table, head],
  ]);
  await writeFile(
    inside('model.safetensors'),
    renamed(weights, (old) => swapped.get(old) ?? old),
  );
  expect((await checkSpeculative(folder, device)).cases[0]!.difference).toContain('relative error');
});
