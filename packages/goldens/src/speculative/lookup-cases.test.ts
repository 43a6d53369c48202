/** Holds drafters without weights of their own to golden cases. */
import { fileURLToPath } from 'node:url';
import { testDevice } from '@forerun/tensor/harness';
import { checkSpeculative } from 'forerun/check';
import { describe, expect, it } from 'vitest';

const device = await testDevice();
const folder = fileURLToPath(new URL('../../fixtures/speculative', import.meta.url));

describe('golden cases of look-up drafters', () => {
  it.each(['lookahead', 'retrieval'])('%s', async (name) => {
    const { cases, ok } = await checkSpeculative(folder, device, { only: [name] });
    expect(cases).toEqual([{ name }]);
    expect(ok).toBe(true);
  });
});
