import { describe, expect, it } from 'vitest';
import { ShapeError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { hold, testDevice } from '../../harness/index.ts';

const device = await testDevice();

describe('elementwise', () => {
  for (const size of [1, 63, 100, 1000]) {
    it(`computes every function on ${size} elements`, async () => {
      await hold(device, {
        inputs: { x: { shape: [size] }, y: { shape: [size] } },
        body: ({ x, y }) => ({
          sum: x.add(y).sub(0.5).mul(3),
          quotient: x.div(y.abs().add(0.1)),
          extremes: x.max(y).min(0.25),
          chosen: x.less(y).select(x, y.neg()),
          roots: x.abs().add(0.01).sqrt().add(y.abs().add(0.5).rsqrt()),
          logs: x.exp().log().add(y.tanh()),
          gates: x.silu().add(y.sigmoid()).add(x.relu()),
          gelus: x.gelu().add(y.geluTanh()),
          rounded: x.mul(100).to('i32').add(7),
        }),
        tolerance: 2e-6,
      });
    });
  }

  it('broadcasts as NumPy does', async () => {
    await hold(device, {
      inputs: { x: { shape: [3, 1, 5] }, row: { shape: [7, 1] }, scalar: { shape: [] } },
      body: ({ x, row, scalar }) => ({ y: x.add(row).mul(scalar) }),
      tolerance: 1e-6,
    });
  });

  it('stays finite where an activation saturates', async () => {
    const { outputs } = await hold(device, {
      inputs: { x: { shape: [4], data: [-1e4, -100, 100, 1e4] } },
      body: ({ x }) => ({ y: x.silu(), t: x.tanh(), g: x.geluTanh() }),
      tolerance: 1e-6,
    });
    for (const output of Object.values(outputs)) expect([...output].every(Number.isFinite)).toBe(true);
  });

  it('refuses shapes that do not broadcast', () => {
    expect(() => trace((graph) => void graph.input('x', [3]).add(graph.input('y', [4])))).toThrow(ShapeError);
  });
});
