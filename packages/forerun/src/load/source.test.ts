import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ByteSource, memorySource } from '@forerun/checkpoints';
import { ArgumentError } from '@forerun/tensor';
import { describe, expect, it } from 'vitest';
import { goldenFolder } from '../../test/byte-checkpoint.ts';
import { type ModelSource, openSource } from './source.ts';

const place = async (source: ModelSource): Promise<string> => (await openSource(source)).describe();

describe('openSource', () => {
  const folder = goldenFolder('llama');
  it('takes paths and file URLs of folders', async () => {
    expect(await place(folder)).toBe(folder);
    expect(await place(new URL(`file://${folder}/`))).toBe(folder);
    expect(await place(`file://${folder}`)).toBe(folder);
    expect(await place({ url: new URL(`file://${folder}`) })).toBe(folder);
    expect(await place('./nowhere/at/all')).toMatch(/nowhere\/at\/all$/);
  });

  it('takes a name for a folder only where there is one with a model in it', async () => {
    expect(await place('packages/forerun')).toBe('https://huggingface.co/packages/forerun@main');
    expect((await openSource('some-owner/some-model', { revision: 'v1' })).describe()).toMatch(
      /some-owner\/some-model@v1$/,
    );
    expect(await place('../some-model')).not.toMatch(/huggingface/);
  });

  it("takes URLs, files of a browser and sources of one's own", async () => {
    expect(await place('https://example.org/model')).toBe('https://example.org/model');
    expect(await place(new URL('https://example.org/model/'))).toBe('https://example.org/model');
    const own = memorySource(new Map([['config.json', new Uint8Array(2)]])) as ByteSource;
    expect(await openSource(own)).toBe(own);
    const picked = await openSource([new File(['{}'], 'config.json')]);
    expect(await picked.exists('config.json')).toBe(true);
  });

  it('takes GGUF files by path, by URL and in Hub repositories, and sees nothing beside them', async () => {
    const there = await mkdtemp(join(tmpdir(), 'gguf-'));
    try {
      await writeFile(join(there, 'model.gguf'), 'GGUF');
      await writeFile(join(there, 'config.json'), '{}');
      for (const source of [join(there, 'model.gguf'), new URL(`file://${there}/model.gguf`)]) {
        const opened = await openSource(source);
        expect(opened.describe()).toBe(join(there, 'model.gguf'));
        expect(await opened.list!()).toEqual(['model.gguf']);
        expect(await opened.size('model.gguf')).toBe(4);
        expect(await opened.exists('config.json')).toBe(false);
      }
    } finally {
      await rm(there, { recursive: true });
    }
    expect(await place('https://example.org/some/model-q4_k.gguf?download=true')).toBe(
      'https://example.org/some/model-q4_k.gguf',
    );
    expect(await place('some-owner/some-model/deep/model.gguf')).toBe(
      'https://huggingface.co/some-owner/some-model@main/deep/model.gguf',
    );
    expect(await place('./some-owner/some-model/model.gguf')).not.toMatch(/huggingface/);
    expect(await place('model.gguf')).toMatch(/\/model\.gguf$/);
  });

  for (const wrong of ['', '  ', 7, null, undefined, {}, true] as unknown as ModelSource[]) {
    it(`refuses ${JSON.stringify(wrong)}`, () => expect(openSource(wrong)).rejects.toThrow(ArgumentError));
  }
});
