/** Whole runs of published loops with a draft model and with early exits, as `forerun check --speculative` holds them. */
import { fileURLToPath } from 'node:url';
import { testDevice } from '@forerun/tensor/harness';
import { checkSpeculative } from 'forerun/check';
import { expect, it } from 'vitest';

const device = await testDevice();
const folder = fileURLToPath(new URL('../../fixtures/speculative', import.meta.url));

it.each(['draft-llama', 'hf-assisted', 'layerskip'])('%s', async (name) => {
  const { cases } = await checkSpeculative(folder, device, { only: [name] });
  expect(cases).toEqual([{ name }]);
});
