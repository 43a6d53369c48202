import { describe, expect, it } from 'vitest';
import { MismatchError } from './hold.ts';
import { testDevice } from './test-device.ts';
import { holdRowsInvariant } from './width-invariance.ts';

const device = await testDevice();

describe('holdRowsInvariant', () => {
  it('passes what looks at one row alone', async () => {
    await holdRowsInvariant(device, {
      rows: { x: { shape: [5] }, y: { shape: [] } },
      body: ({ x, y }) => ({ sum: x.add(y.reshape([-1, 1])) }),
      tolerance: 1e-6,
    });
  });

  it('names the output and the row whose bits follow the number of rows', async () => {
    const held = holdRowsInvariant(device, {
      rows: { x: { shape: [5] } },
      body: ({ x }) => ({ y: x.add(x.shape[0]! * 2 ** -20) }),
      tolerance: 1e-6,
    });
    await expect(held).rejects.toThrow(MismatchError);
    await expect(held).rejects.toThrow(/^y: row 0 of 2 differs/);
  });

  it('names a row whose bits follow its place', async () => {
    const held = holdRowsInvariant(device, {
      rows: { x: { shape: [1] } },
      body: ({ x }, graph) => {
        const rows = x.shape[0]!;
        const places = graph.constant(
          Float32Array.from({ length: rows }, (_, row) => row),
          [rows, 1],
        );
        return { y: x.add(places) };
      },
      tolerance: 1e-6,
    });
    await expect(held).rejects.toThrow(/row 1 of 2 differs/);
  });
});
