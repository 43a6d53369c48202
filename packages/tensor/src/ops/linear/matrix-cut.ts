/** How the kernel of matrix units is cut: candidates beside the tiles of `matmul.wgsl.ts`, taken only where they were measured to be faster. */
import type { Arithmetic } from '../../compile/lowering.ts';
import type { MatrixConfig } from '../../device/subgroup-matrix.ts';
import type { LinearDeviceKind, MatrixUnits } from './linear-device.ts';
import type { LinearSlots } from './linear-slots.ts';
import { matricesOf } from './linear-slots.ts';
import type { MatrixCut } from './matmul-matrix.wgsl.ts';
import { isMatrixConfig, matrixInvocations, matrixMemoryBytes } from './matmul-matrix.wgsl.ts';

/**
 * Configs that an arithmetic allows: components of f32 for all, of f16 for f16 and i8, which are less precise. Of configs that differ in
 * shape alone the largest, and results in f16 only where f16 has no others.
 */
export function matrixConfigsFor(configs: readonly MatrixConfig[], arithmetic: Arithmetic): readonly MatrixConfig[] {
  const size = ({ M, N, K }: MatrixConfig) => M * N * K;
  const largest = (component: string, result: string) =>
    configs
      .filter((config) => config.component === component && config.result === result && isMatrixConfig(config))
      .reduce<MatrixConfig[]>(([best], config) => [best && size(best) >= size(config) ? best : config], []);
  const whole = largest('f32', 'f32');
  if (arithmetic === 'f32') return whole;
  const half = largest('f16', 'f32');
  return [...(half.length > 0 ? half : largest('f16', 'f16')), ...whole];
}

/** Rows of `x` and rows of the weight of a workgroup's tile, about. */
const tiles = [
  [128, 128],
  [128, 64],
  [64, 64],
  [32, 32],
] as const;

/** Results of a subgroup, up to which their registers and the text of the kernel stay in bounds. */
const mostResults = 32;

/** Subgroups of a workgroup along each side. */
const subgroups = { down: 2, across: 2 };

/** The cut of a config whose tile is about so large. */
export function matrixCut(
  matrix: MatrixConfig,
  { lanes }: Pick<MatrixUnits, 'lanes'>,
  tile: { readonly rows: number; readonly outputs: number },
): MatrixCut {
  const results = {
    down: Math.max(1, Math.round(tile.rows / (subgroups.down * matrix.M))),
    across: Math.max(1, Math.round(tile.outputs / (subgroups.across * matrix.N))),
  };
  return { matrix, lanes, subgroups, results, depth: matrix.K * Math.ceil(32 / matrix.K) };
}

/** Cuts worth timing for these slots; none where the device has no matrices for the arithmetic. */
export function matrixCandidates(
  { matrices, memoryBytes }: LinearDeviceKind,
  slots: LinearSlots,
  arithmetic: Arithmetic,
): readonly MatrixCut[] {
  if (!matrices) return [];
  const cuts = matrixConfigsFor(matrices.configs, arithmetic).flatMap((config) =>
    tiles.map(([rows, outputs]) => matrixCut(config, matrices, { rows, outputs: outputs / matricesOf(slots) })),
  );
  const fits = (cut: MatrixCut) =>
    cut.results.down * cut.results.across * matricesOf(slots) <= mostResults &&
    matrixMemoryBytes({ slots, cut }) <= memoryBytes &&
    matrixInvocations({ slots, cut }) <= matrices.invocations;
  return [...new Map(cuts.filter(fits).map((cut) => [JSON.stringify(cut), cut])).values()];
}
