import type { Rows } from '@forerun/contracts';
import { parseRope, rope, ropeFrequencies, type RopeFrequencies, type Tensor } from '@forerun/tensor';
import { UnsupportedModelError } from '../errors.ts';
import type { ConfigFields } from '../config/fields.ts';

/** Lengths for which a scaling that follows the length has speeds of its own, however short the model's context is. */
const shortestReachTokens = 4096;

/**
 * Rotation speeds of heads that are `headDim` wide, by the configuration's `rope_parameters`, or `rope_scaling` and `rope_theta`.
 *
 * @throws RopeConfigError for a scaling that is unknown or incomplete; UnsupportedModelError where only a part of a head turns, unless `partial` lets it.
 */
export function rotarySpeeds(
  fields: ConfigFields,
  headDim: number,
  { partial = false }: { readonly partial?: boolean } = {},
): RopeFrequencies {
  const parsed = parseRope(fields.json, { headDim });
  const parameters =
    parsed.type === 'dynamic'
      ? { ...parsed, capacityTokens: Math.max(parsed.capacityTokens, shortestReachTokens) }
      : parsed;
  const speeds = ropeFrequencies(parameters);
  if ((speeds.rotaryWidth !== headDim && !partial) || parsed.type === 'proportional') {
    throw new UnsupportedModelError(
      `${fields.file}: only a part of each head turns (partial_rotary_factor, or rope type proportional), which this model type does not have. This checkpoint cannot be run.`,
    );
  }
  return speeds;
}

/** Turns heads `[M, H, E]` by the positions of their rows. */
export function rotary(speeds: RopeFrequencies): (x: Tensor, rows: Rows) => Tensor {
  return (x, rows) => rope(x, rows.positions, speeds, { spans: rows.spans });
}
