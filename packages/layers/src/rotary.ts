import type { ConfigFields } from '@forerun/checkpoints';
import type { Rows } from '@forerun/contracts';
import { parseRope, rope, ropeFrequencies, type RopeFrequencies, type Tensor } from '@forerun/tensor';

/** Lengths for which a scaling that follows the length has speeds of its own, however short the model's context is. */
const shortestReachTokens = 4096;

/**
 * Rotation speeds of heads that are `headDim` wide, by the configuration's `rope_parameters`, or `rope_scaling` and `rope_theta`.
 *
 * @throws RopeConfigError for a scaling that is unknown or incomplete.
 */
export function rotarySpeeds(fields: ConfigFields, headDim: number): RopeFrequencies {
  const parsed = parseRope(fields.json, { headDim });
  if (parsed.type !== 'dynamic') return ropeFrequencies(parsed);
  return ropeFrequencies({ ...parsed, capacityTokens: Math.max(parsed.capacityTokens, shortestReachTokens) });
}

/** Turns heads `[M, H, E]` by the positions of their rows. */
export function rotary(speeds: RopeFrequencies): (x: Tensor, rows: Rows) => Tensor {
  return (x, rows) => rope(x, rows.positions, speeds, { spans: rows.spans });
}
