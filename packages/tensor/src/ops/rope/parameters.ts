import { ForerunError } from '../../errors.ts';

/** Rope settings of a configuration are unknown, missing or contradictory. */
export class RopeConfigError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('rope-config', message, options);
  }
}

interface Base {
  /** Base of the wavelengths. */
  readonly theta: number;
  /** Elements of a head that the wavelengths are spread over. */
  readonly rotaryWidth: number;
}

/**
 * Rotary position embedding as a configuration describes it, by scaling type. `factor` is the stretch of the context;
 * `originalMaxPositions` the context before it.
 */
export type RopeParameters =
  | (Base & { readonly type: 'default' })
  | (Base & { readonly type: 'linear'; readonly factor: number })
  | (Base & { readonly type: 'proportional'; readonly factor: number; readonly rotated: number })
  | (Base & {
      readonly type: 'dynamic';
      readonly factor: number;
      readonly maxPositions: number;
      /** Longest sequence that gets a table of its own; longer ones use the last. */
      readonly capacityTokens: number;
    })
  | (Base & {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalMaxPositions: number;
    })
  | (Base & {
      readonly type: 'yarn';
      readonly factor: number;
      readonly originalMaxPositions: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly truncate: boolean;
      readonly mscale?: number;
      readonly mscaleAllDim?: number;
      readonly attentionFactor?: number;
    })
  | (Base & {
      readonly type: 'longrope';
      readonly factor: number;
      readonly originalMaxPositions: number;
      readonly shortFactors: readonly number[];
      readonly longFactors: readonly number[];
      readonly attentionFactor?: number;
    });

/** What a configuration file alone does not say. */
export interface ParseRopeOptions {
  /** Width of a query or key head. */
  readonly headDim: number;
  /** Base where the file names none. */
  readonly defaultTheta?: number;
  /** Which entry to read where each layer type has its own, such as `full_attention`. */
  readonly layerType?: string;
  /** Longest sequence that `dynamic` makes tables for; the stretched context by default. */
  readonly capacityTokens?: number;
}

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

class Reader {
  readonly type: string;
  readonly #fields: Fields;

  constructor(type: string, fields: Fields) {
    this.type = type;
    this.#fields = fields;
  }

  optional(name: string): number | undefined {
    const value = this.#fields[name];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      throw new RopeConfigError(
        `rope type "${this.type}": expected a number for "${name}", got ${JSON.stringify(value)}.`,
      );
    }
    return value;
  }

  number(name: string, fallback?: number): number {
    const value = this.optional(name) ?? fallback;
    if (value === undefined) {
      throw new RopeConfigError(
        `rope type "${this.type}" needs "${name}", which the configuration lacks; it has: ${Object.keys(this.#fields).join(', ')}.`,
      );
    }
    if (value <= 0) throw new RopeConfigError(`rope type "${this.type}": expected "${name}" above 0, got ${value}.`);
    return value;
  }

  list(name: string, length: number): readonly number[] {
    const value = this.#fields[name];
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'number' && item > 0)) {
      throw new RopeConfigError(
        `rope type "${this.type}": expected a list of positive numbers for "${name}", got ${value === undefined ? 'nothing' : typeof value}.`,
      );
    }
    if (value.length !== length) {
      throw new RopeConfigError(
        `rope type "${this.type}": expected ${length} numbers in "${name}", half of the rotated width; got ${value.length}.`,
      );
    }
    return value as number[];
  }
}

/** The rope entry of a configuration with its type and base: of `rope_parameters`, else of `rope_scaling` and `rope_theta`. */
function entry(
  config: Fields,
  { layerType, defaultTheta = 10_000 }: ParseRopeOptions,
): { type: string; fields: Fields; theta: number } {
  let fields = config['rope_parameters'] ?? config['rope_scaling'] ?? {};
  if (!isFields(fields)) {
    throw new RopeConfigError(
      `Expected rope_parameters (or rope_scaling) to be an object, got ${JSON.stringify(fields)}.`,
    );
  }
  const nested = Object.keys(fields).filter((key) => isFields((fields as Fields)[key]));
  if (nested.length > 0) {
    const chosen = layerType === undefined ? undefined : fields[layerType];
    if (!isFields(chosen)) {
      throw new RopeConfigError(
        `rope_parameters has an entry for each layer type (${nested.join(', ')}); expected one of them as layerType, got ${layerType}.`,
      );
    }
    fields = chosen;
  }
  const own = fields as Fields;
  const type = own['rope_type'] ?? own['type'] ?? 'default';
  const theta = own['rope_theta'] ?? config['rope_theta'] ?? defaultTheta;
  if (typeof theta !== 'number' || !(theta > 1))
    throw new RopeConfigError(`Expected rope_theta above 1, got ${JSON.stringify(theta)}.`);
  return { type: String(type), fields: own, theta };
}

/**
 * Rope parameters of a model's `config.json`: `rope_parameters`, or the older `rope_scaling` beside `rope_theta`.
 *
 * @throws {@link RopeConfigError} for an unknown type, a missing or ill-typed field, or a list of another length than half of the
 * rotated width.
 */
export function parseRope(config: Readonly<Record<string, unknown>>, options: ParseRopeOptions): RopeParameters {
  const { headDim, capacityTokens } = options;
  const { type, fields, theta } = entry(config, options);
  const reader = new Reader(type, fields);
  const whole = new Reader(type, config);
  const partial = reader.number('partial_rotary_factor', whole.number('partial_rotary_factor', 1));
  const rotaryWidth = Math.trunc(headDim * partial);
  const pairs = Math.ceil(rotaryWidth / 2);
  if (rotaryWidth < 1 || 2 * pairs > headDim) {
    throw new RopeConfigError(
      `rope: a head of ${headDim} elements cannot rotate ${rotaryWidth} of them in pairs (partial_rotary_factor ${partial}).`,
    );
  }
  const base = { theta, rotaryWidth };
  const maxPositions = () => whole.number('max_position_embeddings');
  const original = () =>
    whole.optional('original_max_position_embeddings') ??
    reader.number('original_max_position_embeddings', whole.optional('max_position_embeddings'));
  const optional = <Name extends string>(name: Name, value: number | undefined) =>
    (value === undefined ? {} : { [name]: value }) as { readonly [Key in Name]?: number };
  switch (type) {
    case 'default':
      return { type, ...base };
    case 'linear':
      return { type, ...base, factor: reader.number('factor') };
    case 'proportional':
      return { type, theta, rotaryWidth: headDim, factor: reader.number('factor', 1), rotated: partial };
    case 'dynamic': {
      const factor = reader.number('factor');
      return {
        type,
        ...base,
        factor,
        maxPositions: maxPositions(),
        capacityTokens: capacityTokens ?? Math.ceil(factor * maxPositions()),
      };
    }
    case 'llama3': {
      const lowFrequencyFactor = reader.number('low_freq_factor');
      const highFrequencyFactor = reader.number('high_freq_factor');
      if (highFrequencyFactor <= lowFrequencyFactor) {
        throw new RopeConfigError(
          `rope type "llama3": expected high_freq_factor above low_freq_factor, got ${highFrequencyFactor} and ${lowFrequencyFactor}.`,
        );
      }
      return {
        type,
        ...base,
        factor: reader.number('factor'),
        lowFrequencyFactor,
        highFrequencyFactor,
        originalMaxPositions: original(),
      };
    }
    case 'yarn':
      return {
        type,
        ...base,
        factor: reader.optional('factor') ?? maxPositions() / original(),
        originalMaxPositions: original(),
        betaFast: reader.optional('beta_fast') || 32,
        betaSlow: reader.optional('beta_slow') || 1,
        truncate: fields['truncate'] !== false,
        ...optional('mscale', reader.optional('mscale')),
        ...optional('mscaleAllDim', reader.optional('mscale_all_dim')),
        ...optional('attentionFactor', reader.optional('attention_factor')),
      };
    case 'longrope':
    case 'su':
      return {
        type: 'longrope',
        ...base,
        factor: reader.optional('factor') ?? maxPositions() / original(),
        originalMaxPositions: original(),
        shortFactors: reader.list('short_factor', pairs),
        longFactors: reader.list('long_factor', pairs),
        ...optional('attentionFactor', reader.optional('attention_factor')),
      };
    default:
      throw new RopeConfigError(
        `rope type "${type}" is unknown; known are default, linear, dynamic, llama3, yarn, longrope and proportional.`,
      );
  }
}
