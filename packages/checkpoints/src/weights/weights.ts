import {
  ArgumentError,
  type BlockType,
  DTypeError,
  formatOfBlocks,
  ShapeError,
  Weight,
  type WeightFormat,
} from '@forerun/tensor';
import type { Checkpoint, CheckpointTensor } from '../checkpoint/checkpoint.ts';
import type { StoredDType } from '../checkpoint/stored-dtype.ts';
import { WeightNameError } from '../errors.ts';
import { nearestNames } from './nearest.ts';

/** Device format of matrices; `as-is` keeps the stored one. */
export type WeightPolicy = WeightFormat | 'as-is';

/** Every {@link WeightPolicy} that a checkpoint can be converted to. */
export const weightPolicies: readonly WeightPolicy[] = ['f32', 'f16', 'bf16', 'q8', 'q4', 'as-is'];

/** Stored dtypes that weights are converted from. */
export type SourceDType = 'F32' | 'F16' | 'BF16' | BlockType;

const storedFormat: Partial<Record<StoredDType, WeightFormat>> = {
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
  ...formatOfBlocks,
};

/** Whether weights can be converted from `dtype`. */
export function isSourceDType(dtype: StoredDType): dtype is SourceDType {
  return dtype in storedFormat;
}

interface Ledger {
  readonly checkpoint: Checkpoint;
  readonly handedOut: Map<string, Weight>;
  readonly missing: Set<string>;
  prefixes?: ReadonlySet<string>;
}

/**
 * What a model file reads its weights from: a view of the checkpoint below one path, where `at` goes down by the names that stand
 * in the checkpoint. It records what was read, so that {@link Weights.finish} finds names that nobody read and names that are missing.
 *
 * @example
 * ```ts
 * const w = checkpoint.weights();
 * const q = w.at('model').at('layers').at(0).at('self_attn').at('q_proj').tensor('weight', [H * E, D]);
 * const weights = w.finish();
 * ```
 */
export class Weights {
  /** Dotted path of this view; empty at the top. */
  readonly path: string;
  readonly #ledger: Ledger;

  constructor(checkpoint: Checkpoint, from?: { parent: Weights; segment: string | number }) {
    this.path = from ? joined(from.parent.path, from.segment) : '';
    this.#ledger = from ? from.parent.#ledger : { checkpoint, handedOut: new Map(), missing: new Set() };
  }

  /** The view one name further down. */
  at(segment: string | number): Weights {
    return new Weights(this.#ledger.checkpoint, { parent: this, segment });
  }

  /** Whether the checkpoint has a tensor of this name here, or tensors below it. */
  has(name: string | number): boolean {
    const { checkpoint } = this.#ledger;
    const whole = joined(this.path, name);
    if (checkpoint.tensors.has(whole)) return true;
    this.#ledger.prefixes ??= prefixesOf(checkpoint.tensors.keys());
    return this.#ledger.prefixes.has(whole);
  }

  /**
   * Declares the weight `name`, in the format that the checkpoint was opened with: matrices by its policy, vectors in f32. The same
   * name gives the same object again, so that tied weights are stored once. A name that the checkpoint does not have is remembered,
   * and is an error of {@link Weights.finish}, which reports all of them together.
   *
   * @param shape - What the model expects, such as `[N, K]` for a matrix of N outputs and K inputs.
   * @param options.format - Device format of this weight alone, instead of the policy's.
   * @throws ShapeError when the checkpoint has another shape; DTypeError when its dtype is not F32, F16, BF16 or a block type of GGUF.
   */
  tensor(name: string, shape: readonly number[], options: { format?: WeightFormat } = {}): Weight {
    const whole = joined(this.path, name);
    const { checkpoint, handedOut, missing } = this.#ledger;
    const known = handedOut.get(whole);
    if (known) {
      if (options.format && options.format !== known.format) {
        throw new ArgumentError(
          `Weight "${whole}" was read as ${known.format} before, and is now asked for as ${options.format}.`,
        );
      }
      checkShape(whole, known.shape, shape);
      return known;
    }
    const stored = checkpoint.tensors.get(whole);
    if (stored) checkShape(whole, stored.shape, shape);
    else if (!checkpoint.declared) missing.add(whole);
    const format = options.format ?? this.#format(shape, stored);
    if (stored) checkDType(stored);
    const weight = new Weight({ name: whole, shape, format });
    handedOut.set(whole, weight);
    return weight;
  }

  /**
   * Ends the reading: every tensor at or below this path has been read, and every name that was read is there.
   *
   * @param options.ignore - Names that may stay unread: whole dotted names, or patterns tested against them.
   * @returns The weights read at or below this path, for `loadWeights`.
   * @throws WeightNameError that lists missing names with the nearest ones, and unread names.
   */
  finish(options: { ignore?: readonly (string | RegExp)[] } = {}): Weight[] {
    const { checkpoint, handedOut, missing } = this.#ledger;
    const below = (name: string): boolean => this.path === '' || name.startsWith(`${this.path}.`);
    const ignored = (name: string): boolean =>
      (options.ignore ?? []).some((rule) =>
        typeof rule === 'string' ? rule === name : new RegExp(rule.source, rule.flags).test(name),
      );
    const unread = [...checkpoint.tensors.keys()].filter(
      (name) => below(name) && !handedOut.has(name) && !ignored(name),
    );
    const absent = [...missing].filter(below);
    if (absent.length + unread.length > 0) throw new WeightNameError(namesMessage(checkpoint, absent, unread));
    return [...handedOut.values()].filter(({ name }) => below(name));
  }

  #format(shape: readonly number[], stored: CheckpointTensor | undefined): WeightFormat {
    if (shape.length < 2) return 'f32';
    const { policy } = this.#ledger.checkpoint;
    if (policy !== 'as-is') return policy;
    return (stored && storedFormat[stored.dtype]) ?? 'f32';
  }
}

function checkShape(name: string, stored: readonly number[], asked: readonly number[]): void {
  if (stored.length === asked.length && stored.every((size, axis) => size === asked[axis])) return;
  throw new ShapeError(
    `Weight "${name}": the model expects [${asked.join(', ')}], the checkpoint has [${stored.join(', ')}]. The config and the weights do not belong together.`,
  );
}

function checkDType({ name, dtype }: CheckpointTensor): void {
  if (isSourceDType(dtype)) return;
  throw new DTypeError(
    `Weight "${name}" is stored as ${dtype}; weights are read from F32, F16 or BF16. Convert the checkpoint to one of these.`,
  );
}

function namesMessage(checkpoint: Checkpoint, absent: readonly string[], unread: readonly string[]): string {
  const lines = [`${checkpoint.source.describe()} and the model do not agree about the weights' names.`];
  const shown = 8;
  for (const name of absent.slice(0, shown)) {
    const near = nearestNames(name, unread.length > 0 ? unread : checkpoint.tensors.keys());
    lines.push(`Missing in the checkpoint: ${name}${near.length > 0 ? ` (nearest: ${near.join(', ')})` : ''}.`);
  }
  if (absent.length > shown) lines.push(`And ${absent.length - shown} more are missing.`);
  if (unread.length > 0) {
    const more = unread.length > shown ? ` and ${unread.length - shown} more` : '';
    lines.push(`In the checkpoint but never read: ${unread.slice(0, shown).join(', ')}${more}.`);
  }
  lines.push('Check that the model type and the config belong to these weights.');
  return lines.join('\n');
}

function joined(path: string, segment: string | number): string {
  return path === '' ? String(segment) : `${path}.${segment}`;
}

function prefixesOf(names: Iterable<string>): ReadonlySet<string> {
  const prefixes = new Set<string>();
  for (const name of names) {
    for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) prefixes.add(name.slice(0, dot));
  }
  return prefixes;
}
