/**
 * Subgroup matrices: small matrices that the lanes of a subgroup hold together and multiply on units made for it. A draft of WebGPU, which
 * Dawn has as the unsafe feature `chromium-experimental-subgroup-matrix`
 * (https://dawn.googlesource.com/dawn/+/refs/heads/main/docs/dawn/features/subgroup_matrix.md).
 */

/** The feature as Dawn names it. */
export const subgroupMatrixFeature = 'chromium-experimental-subgroup-matrix' as GPUFeatureName;

/** Types of components that kernels here multiply or add up in. */
export type MatrixComponent = 'f16' | 'f32';

/** A product that the adapter has: `[M, K]` times `[K, N]` of one type, added to `[M, N]` of another. */
export interface MatrixConfig {
  readonly component: MatrixComponent;
  readonly result: MatrixComponent;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/** An entry of `GPUAdapterInfo.subgroupMatrixConfigs`, which types of WebGPU do not know yet. */
interface ReportedConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

const isComponent = (type: string): type is MatrixComponent => type === 'f16' || type === 'f32';

/** Products of floats that an adapter reports, where the device has the feature; in f16 only with `shader-f16`. */
export function matrixConfigs(
  info: GPUAdapterInfo,
  features: Pick<GPUSupportedFeatures, 'has'>,
): readonly MatrixConfig[] {
  if (!features.has(subgroupMatrixFeature)) return [];
  const { subgroupMatrixConfigs = [] } = info as { readonly subgroupMatrixConfigs?: Iterable<ReportedConfig> };
  return [...subgroupMatrixConfigs].flatMap(({ componentType: component, resultComponentType: result, M, N, K }) => {
    const known = isComponent(component) && isComponent(result);
    const half = component === 'f16' || result === 'f16';
    return known && (!half || features.has('shader-f16')) ? [{ component, result, M, N, K }] : [];
  });
}
