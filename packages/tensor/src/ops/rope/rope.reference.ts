import type { RopeFrequencies } from './frequencies.ts';
import type { RopeLayout } from './rope.wgsl.ts';

/** Rotates one head in place, in float64. */
export function rotateReference(
  head: Float64Array,
  options: { frequencies: RopeFrequencies; layout: RopeLayout; table: number; position: number },
): void {
  const { frequencies, layout, table, position } = options;
  const pairs = frequencies.rotaryWidth / 2;
  for (let pair = 0; pair < pairs; pair++) {
    const angle = position * frequencies.radians[table * pairs + pair]!;
    const [i, j] = layout === 'halves' ? [pair, pair + pairs] : [2 * pair, 2 * pair + 1];
    const [cos, sin] = [Math.cos(angle) * frequencies.attentionFactor, Math.sin(angle) * frequencies.attentionFactor];
    const [a, b] = [head[i]!, head[j]!];
    head[i] = a * cos - b * sin;
    head[j] = b * cos + a * sin;
  }
}
