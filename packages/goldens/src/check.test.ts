/** `forerun check` must miss where there is something to miss. */
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { memorySource, parseHeader } from '@forerun/checkpoints';
import { testDevice } from '@forerun/tensor/harness';
import { checkFolder, checkLine, goldenFile } from 'forerun/check';
import { expect, test } from 'vitest';

const folder = fileURLToPath(new URL('../fixtures/models/', import.meta.url));

async function files(name: string): Promise<Map<string, Uint8Array>> {
  const entries = await readdir(folder + name);
  return new Map(
    await Promise.all(entries.map(async (file) => [file, await readFile(`${folder}${name}/${file}`)] as const)),
  );
}

/** A view of one tensor's bytes within a golden file. */
function tensorBytes(golden: Uint8Array, name: string): DataView {
  const headerBytes = Number(new DataView(golden.buffer, golden.byteOffset).getBigUint64(0, true));
  const { entries } = parseHeader(golden.subarray(8, 8 + headerBytes), golden.length, goldenFile);
  const { begin, end } = entries.find((entry) => entry.name === name)!;
  return new DataView(golden.buffer, golden.byteOffset + begin, end - begin);
}

async function checkWith(change: (files: Map<string, Uint8Array>) => void | Promise<void>) {
  const changed = await files('llama-biases');
  await change(changed);
  return checkFolder(memorySource(changed), await testDevice());
}

test('a logit that is off by 1 in one position misses, in one pass and in chunks', async () => {
  const result = await checkWith((all) => {
    const logits = tensorBytes(all.get(goldenFile)!, 'logits');
    logits.setFloat32(4 * 1000, logits.getFloat32(4 * 1000, true) + 1, true);
  });
  expect(result).toMatchObject({ ok: false, chunksOk: false, greedy: { matched: 40, total: 40 } });
  expect(result.logitsError).toBeGreaterThan(1e-3);
});

test('another greedy token misses from there on', async () => {
  const result = await checkWith((all) => {
    const tokens = tensorBytes(all.get(goldenFile)!, 'greedy_tokens');
    tokens.setInt32(4 * 7, (tokens.getInt32(4 * 7, true) + 1) % 100, true);
  });
  expect(result).toMatchObject({ ok: false, chunksOk: true, greedy: { matched: 7, total: 40 } });
  expect(checkLine(result)).toMatch(/^memory {2}logits_rel_err=\d\.\d\de-\d {2}greedy=7\/40 {2}chunks_ok=true$/);
});

test('an epsilon that the golden was not made with misses', async () => {
  const result = await checkWith((all) => {
    const config = JSON.parse(new TextDecoder().decode(all.get('config.json'))) as object;
    all.set('config.json', new TextEncoder().encode(JSON.stringify({ ...config, rms_norm_eps: 1e-3 })));
  });
  expect(result.ok).toBe(false);
});

test('a logit that is not a number in the file misses', async () => {
  const result = await checkWith((all) => tensorBytes(all.get(goldenFile)!, 'logits').setFloat32(0, NaN, true));
  expect(result).toMatchObject({ ok: false, chunksOk: false });
});

test.each([
  {
    what: 'no golden file',
    change: (all: Map<string, Uint8Array>) => void all.delete(goldenFile),
    code: 'file-missing',
    message: goldenFile,
  },
  {
    what: "another model's golden file",
    change: async (all: Map<string, Uint8Array>) => void all.set(goldenFile, (await files('llama')).get(goldenFile)!),
    code: 'golden-file',
    message: 'expected ids from 0 to 127',
  },
  {
    what: 'logits of another size',
    change: (all: Map<string, Uint8Array>) => {
      const golden = new TextDecoder('latin1').decode(all.get(goldenFile)!);
      const header = golden.replace('"shape":[80,128]', '"shape":[128,80]');
      all.set(
        goldenFile,
        Uint8Array.from(header, (letter) => letter.charCodeAt(0)),
      );
    },
    code: 'golden-file',
    message: 'expected logits as F32, one row of 128 for each of input_ids; got F32 [128, 80]',
  },
  {
    what: 'weights as golden file',
    change: (all: Map<string, Uint8Array>) => void all.set(goldenFile, all.get('model.safetensors')!),
    code: 'golden-file',
    message: 'expected input_ids as I32, a list; got nothing',
  },
  {
    what: 'a token that the model does not have',
    change: (all: Map<string, Uint8Array>) => tensorBytes(all.get(goldenFile)!, 'greedy_prompt').setInt32(0, -1, true),
    code: 'golden-file',
    message: 'greedy_prompt has the token -1, expected ids from 0 to 127',
  },
])('$what is an error', async ({ change, code, message }) => {
  await expect(checkWith(change)).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message) as string,
  });
});
