import { ArgumentError } from '../../errors.ts';
import type { RopeParameters } from './parameters.ts';

/** Rotation speeds of a model's heads: what {@link rope} needs to know. */
export interface RopeFrequencies {
  /** Leading elements of a head that are rotated: two per frequency; the rest passes through. */
  readonly rotaryWidth: number;
  /** `[tables, rotaryWidth / 2]` radians per position, in float32 as checkpoints were trained with. */
  readonly radians: Float32Array<ArrayBuffer>;
  /** Number of tables; more than one where the speeds follow the length of the sequence. */
  readonly tables: number;
  /** A sequence of length `span` uses table `clamp(span - baseSpan, 0, tables - 1)`. */
  readonly baseSpan: number;
  /** Factor on cosines and sines. */
  readonly attentionFactor: number;
}

const f32 = Math.fround;
const f32Reciprocal = (x: number) => f32(1 / x);

/** `theta^(2i / width)` for each pair, every step rounded to float32. */
function wavelengths(theta: number, width: number, pairs: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: pairs }, (_, i) => f32(f32(theta) ** f32((2 * i) / width)));
}

/** `0.1 m ln s + 1`, the growth of logits that YaRN corrects for. */
function yarnScale(scale: number, multiplier = 1): number {
  return scale <= 1 ? 1 : 0.1 * multiplier * Math.log(scale) + 1;
}

function yarn(p: Extract<RopeParameters, { type: 'yarn' }>, pairs: number): Float32Array<ArrayBuffer> {
  const width = p.rotaryWidth;
  const turnsAt = (rotations: number) =>
    (width * Math.log(p.originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(p.theta));
  const bounds = [turnsAt(p.betaFast), turnsAt(p.betaSlow)] as const;
  const low = Math.max(p.truncate ? Math.floor(bounds[0]) : bounds[0], 0);
  const high = Math.min(p.truncate ? Math.ceil(bounds[1]) : bounds[1], width - 1);
  const span = f32(low === high ? 0.001 : high - low);
  return wavelengths(p.theta, width, pairs).map((wavelength, i) => {
    const ramp = Math.min(1, Math.max(0, f32(f32(i - f32(low)) / span)));
    const kept = f32(1 - ramp);
    const interpolated = f32Reciprocal(f32(f32(p.factor) * wavelength));
    return f32(f32(interpolated * f32(1 - kept)) + f32(f32Reciprocal(wavelength) * kept));
  });
}

function llama3(p: Extract<RopeParameters, { type: 'llama3' }>, pairs: number): Float32Array<ArrayBuffer> {
  const longest = f32(p.originalMaxPositions / p.lowFrequencyFactor);
  const shortest = f32(p.originalMaxPositions / p.highFrequencyFactor);
  return wavelengths(p.theta, p.rotaryWidth, pairs).map((raw) => {
    const plain = f32Reciprocal(raw);
    const wavelength = f32(f32Reciprocal(plain) * f32(2 * Math.PI));
    if (wavelength > longest) return f32(plain / f32(p.factor));
    if (wavelength < shortest) return plain;
    const turns = f32(f32Reciprocal(wavelength) * p.originalMaxPositions);
    const smooth = f32(f32(turns - f32(p.lowFrequencyFactor)) / f32(p.highFrequencyFactor - p.lowFrequencyFactor));
    return f32(f32(f32(f32(1 - smooth) * plain) / f32(p.factor)) + f32(smooth * plain));
  });
}

function longTables(p: Extract<RopeParameters, { type: 'longrope' }>, pairs: number): Float32Array<ArrayBuffer> {
  const plain = wavelengths(p.theta, p.rotaryWidth, pairs);
  const radians = new Float32Array(2 * pairs);
  [p.shortFactors, p.longFactors].forEach((factors, table) => {
    plain.forEach((wavelength, i) => (radians[table * pairs + i] = f32Reciprocal(f32(f32(factors[i]!) * wavelength))));
  });
  return radians;
}

function dynamicTables(p: Extract<RopeParameters, { type: 'dynamic' }>, pairs: number): Float32Array<ArrayBuffer> {
  const tables = Math.max(1, p.capacityTokens - p.maxPositions + 1);
  const radians = new Float32Array(tables * pairs);
  const exponent = p.rotaryWidth / (p.rotaryWidth - 2);
  for (let table = 0; table < tables; table++) {
    const stretched = f32(f32(p.factor * (p.maxPositions + table)) / p.maxPositions);
    const grown = f32(p.theta * f32(f32(stretched - f32(p.factor - 1)) ** f32(exponent)));
    const theta = table === 0 ? p.theta : grown;
    radians.set(wavelengths(theta, p.rotaryWidth, pairs).map(f32Reciprocal), table * pairs);
  }
  return radians;
}

function speeds(p: RopeParameters, pairs: number): Float32Array<ArrayBuffer> {
  const plain = () => wavelengths(p.theta, p.rotaryWidth, pairs).map(f32Reciprocal);
  switch (p.type) {
    case 'default':
      return plain();
    case 'linear':
      return plain().map((speed) => f32(speed / f32(p.factor)));
    case 'proportional': {
      const rotated = Math.floor((p.rotated * p.rotaryWidth) / 2);
      return plain().map((speed, i) => (i < rotated ? f32(speed / f32(p.factor)) : 0));
    }
    case 'llama3':
      return llama3(p, pairs);
    case 'yarn':
      return yarn(p, pairs);
    case 'longrope':
      return longTables(p, pairs);
    case 'dynamic':
      return dynamicTables(p, pairs);
  }
}

/** Factor on cosines and sines that keeps the scale of logits when a context is stretched. */
function attentionFactor(p: RopeParameters): number {
  if (p.type === 'yarn') {
    if (p.attentionFactor !== undefined) return p.attentionFactor;
    const both = p.mscale && p.mscaleAllDim;
    return both ? yarnScale(p.factor, p.mscale) / yarnScale(p.factor, p.mscaleAllDim) : yarnScale(p.factor);
  }
  if (p.type === 'longrope') {
    if (p.attentionFactor !== undefined) return p.attentionFactor;
    return p.factor <= 1 ? 1 : Math.sqrt(1 + Math.log(p.factor) / Math.log(p.originalMaxPositions));
  }
  return 1;
}

/**
 * Rotation speeds from a model's rope parameters, rounded to float32 step by step as the implementations do that the checkpoints
 * were trained with: at position 100,000 one rounding more or less turns a fast pair by milliradians.
 *
 * @throws {@link ArgumentError} if the rotated width does not fit its parameters.
 */
export function ropeFrequencies(parameters: RopeParameters): RopeFrequencies {
  const { type, rotaryWidth } = parameters;
  const pairs = Math.ceil(rotaryWidth / 2);
  if (!Number.isSafeInteger(rotaryWidth) || rotaryWidth < 1 || (type === 'dynamic' && rotaryWidth <= 2)) {
    throw new ArgumentError(
      `rope (${type}): expected a rotated width of ${type === 'dynamic' ? 'more than 2' : 'at least 1'}, got ${rotaryWidth}; check head_dim and partial_rotary_factor.`,
    );
  }
  const radians = speeds(parameters, pairs);
  const baseSpan =
    type === 'longrope' ? parameters.originalMaxPositions : type === 'dynamic' ? parameters.maxPositions : 0;
  return {
    rotaryWidth: 2 * pairs,
    radians,
    tables: radians.length / pairs,
    baseSpan,
    attentionFactor: attentionFactor(parameters),
  };
}

/** Index of the table that a sequence of `span` tokens uses. */
export function ropeTable({ tables, baseSpan }: RopeFrequencies, span: number): number {
  return Math.min(Math.max(span - baseSpan, 0), tables - 1);
}
