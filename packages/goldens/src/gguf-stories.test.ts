/** GGUF files of the shipped story model: they tell a story, and speculation tells the same one. */
import { fileURLToPath } from 'node:url';
import { folderSource, memorySource } from '@forerun/checkpoints';
import { testDevice } from '@forerun/tensor/harness';
import { stories } from '@forerun/tiny';
import { load, type LoadedModel } from 'forerun';
import { expect, test } from 'vitest';
import { ggufBytes } from './gguf/from-checkpoint.ts';

const prompt = 'Once upon a time, there was a little girl named Lily.';
const shipped = folderSource(fileURLToPath(stories.url));

async function tell(model: LoadedModel, drafter: 'none' | 'n-gram', width: number): Promise<string> {
  return await model.generate(prompt, { drafter, width, maxTokens: 32, sampling: { temperature: 0 } }).text;
}

test.each(['Q8_0', 'Q4_K'] as const)('%s tells a story, the same with speculation', async (type) => {
  const bytes = await ggufBytes(shipped, { type });
  const model = await load(memorySource(new Map([[`stories-${type}.gguf`, bytes]])), { device: await testDevice() });
  try {
    const plain = await tell(model, 'none', 1);
    console.info(`${type}: ${prompt}${plain}`);
    expect(plain.split(/\s+/).length).toBeGreaterThan(15);
    expect(plain).toMatch(/^[\s\w.,;:!?'"-]+$/);
    for (const width of [3, 8]) expect(await tell(model, 'n-gram', width)).toBe(plain);
  } finally {
    model.close();
  }
});
