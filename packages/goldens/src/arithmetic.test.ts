/** The shipped story model in integer arithmetic: it tells a story, and speculation tells the same one. */
import { fileURLToPath } from 'node:url';
import { folderSource } from '@forerun/checkpoints';
import { testDevice } from '@forerun/tensor/harness';
import { stories } from '@forerun/tiny';
import { load } from 'forerun';
import { expect, test } from 'vitest';

const prompt = 'Once upon a time, there was a little girl named Lily.';

test('arithmetic i8 tells a story, the same with speculation', async () => {
  const device = await testDevice();
  const source = folderSource(fileURLToPath(stories.url));
  const model = await load(source, { device, weights: 'q4', arithmetic: 'i8', capacityTokens: 64 });
  try {
    const tell = (drafter: 'none' | 'n-gram', width: number) =>
      model.generate(prompt, { drafter, width, maxTokens: 14, sampling: { temperature: 0 } }).text;
    const plain = await tell('none', 1);
    expect(plain).toMatch(/^[\s\w.,;:!?'"-]{30,}$/);
    expect(await tell('n-gram', 3)).toBe(plain);
    const kernels = model.engine.programs.flatMap(({ dispatches }) => dispatches.map(({ kernel }) => kernel.name));
    expect(kernels.filter((name) => name.startsWith('arithmetic-i8-matvec-blocks')).length).toBeGreaterThan(10);
  } finally {
    model.close();
  }
});
