import { describe, expect, it } from 'vitest';
import { requestDevice } from './device.ts';
import { matrixConfigs, subgroupMatrixFeature } from './subgroup-matrix.ts';

describe('matrixConfigs', () => {
  const reported = [
    ['f16', 'f32', 16, 16, 16],
    ['i8', 'i32', 16, 16, 32],
    ['f32', 'f32', 8, 8, 8],
  ] as const;
  const info = {
    subgroupMatrixConfigs: reported.map(([componentType, resultComponentType, M, N, K]) => ({
      componentType,
      resultComponentType,
      M,
      N,
      K,
    })),
  } as unknown as GPUAdapterInfo;
  const whole = { component: 'f32', result: 'f32', M: 8, N: 8, K: 8 };

  it('are those of floats, of f16 only with shader-f16', () => {
    expect(matrixConfigs(info, new Set(['shader-f16', subgroupMatrixFeature]))).toEqual([
      { component: 'f16', result: 'f32', M: 16, N: 16, K: 16 },
      whole,
    ]);
    expect(matrixConfigs(info, new Set([subgroupMatrixFeature]))).toEqual([whole]);
  });

  it('are none where the device has not the feature, or the adapter reports none', () => {
    expect(matrixConfigs(info, new Set(['shader-f16']))).toEqual([]);
    expect(matrixConfigs({} as GPUAdapterInfo, new Set([subgroupMatrixFeature]))).toEqual([]);
  });
});

describe('a device', () => {
  it('has no subgroup matrices unless they are asked for by name', async () => {
    for (const options of [{}, { limits: 'portable', experimental: ['subgroup-matrix'] }] as const) {
      const device = await requestDevice(options);
      expect(device.has(subgroupMatrixFeature)).toBe(false);
      expect(device.matrices).toEqual([]);
      device.destroy();
    }
  });

  it('that is asked for them has them with subgroups alone', async () => {
    const device = await requestDevice({ experimental: ['subgroup-matrix'] });
    if (device.matrices.length > 0) expect(device.has(subgroupMatrixFeature) && device.has('subgroups')).toBe(true);
    device.destroy();
    const without = await requestDevice({ experimental: ['subgroup-matrix'], without: ['subgroups'] });
    expect(without.has(subgroupMatrixFeature)).toBe(false);
    expect(without.matrices).toEqual([]);
    without.destroy();
  });
});
