import { describe, expect, it } from 'vitest';
import { testDevice } from '../harness/index.ts';
import { submitOnce } from './dispatch-once.ts';
import { spinKernel, spinLanes } from './spin.wgsl.ts';
import { ClockWatch, steadyClock } from './steady-clock.ts';

/** Units that a clock takes to stand: each unit's time, 10 ms apart; undefined where it never does. */
function unitsUntilSteady(watch: ClockWatch, times: readonly number[]): number | undefined {
  watch.begin(0);
  const at = times.findIndex((ms, i) => watch.stands(ms, 10 * (i + 1)));
  return at < 0 ? undefined : at + 1;
}

const repeated = (ms: number, count: number): number[] => Array.from({ length: count }, () => ms);

describe('ClockWatch', () => {
  it('waits, the first time, until no unit was faster for a while', () => {
    const rising = [6, 5, 4, 3, 2, 1, ...repeated(1, 100)];
    expect(unitsUntilSteady(new ClockWatch(), rising)).toBe(6 + 25);
  });

  it('takes noise of a few percent for the same clock', () => {
    const noisy = Array.from({ length: 100 }, (_, i) => 1 + 0.01 * (i % 3));
    expect(unitsUntilSteady(new ClockWatch(), noisy)).toBe(26);
  });

  it('waits, later, until it is as fast as it was', () => {
    const watch = new ClockWatch();
    unitsUntilSteady(watch, repeated(1, 100));
    expect(unitsUntilSteady(watch, repeated(1, 10))).toBe(3);
    expect(unitsUntilSteady(watch, [3, 2, 1, 3, 1, 1, 1])).toBe(7);
    expect(unitsUntilSteady(watch, repeated(2, 100))).toBeUndefined();
  });

  it('asks for less where the clock did not come back', () => {
    const watch = new ClockWatch();
    unitsUntilSteady(watch, repeated(1, 100));
    watch.giveUp(2);
    expect(unitsUntilSteady(watch, repeated(2, 10))).toBe(3);
  });
});

const device = await testDevice();

describe('spin', () => {
  it('does every multiplication: sums come to the fixed point', async () => {
    const sums = device.storage(2 * spinLanes * 4, 'sums', 'other');
    const work = { kernel: spinKernel, constants: {}, uniforms: { rounds: 8 }, buffers: { sums } };
    await submitOnce(device, [{ ...work, workgroups: 2, label: 'spin' }]);
    const loan = device.staging.borrow(sums.size);
    const encoder = device.gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(sums, 0, loan.buffer, 0, sums.size);
    device.gpu.queue.submit([encoder.finish()]);
    expect([...new Set(new Float32Array(await loan.read(sums.size)))]).toEqual([2]);
    sums.destroy();
  });
});

describe('steadyClock', () => {
  it('runs nothing on a software adapter, whose clock does not rise', async () => {
    const { peak } = device.memory;
    await steadyClock(device);
    if (device.adapter.kind === 'software') expect(device.memory.peak).toBe(peak);
  });
});
