import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { runInDeno } from '../src/index.ts';

const script = fileURLToPath(new URL('./scripts/print-adapter.ts', import.meta.url));

test('a script in Deno finds an adapter', async () => {
  const { code, stdout, stderr } = await runInDeno(script);
  expect(code, stderr).toBe(0);
  expect(stdout.trim()).not.toBe('none');
  expect(stdout.trim()).not.toBe('');
});
