import type { ByteSource, ReadOptions } from '../sources/byte-source.ts';
import { readJsonObject } from '../sources/text.ts';
import { Weights, type WeightPolicy } from '../weights/weights.ts';
import type { StoredDType } from './stored-dtype.ts';
import { streamSlices, type StreamOptions, type TensorSlice } from './stream.ts';

/** Where one tensor of a checkpoint lies. `begin` and `end` are byte positions in `file`, half open. */
export interface CheckpointTensor {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  readonly file: string;
  readonly begin: number;
  readonly end: number;
  /** Rows of a head, where the file holds the two halves of every head's rows in turn; they are streamed in order. */
  readonly headRows?: number;
}

const maxConfigBytes = 16 << 20;

/**
 * The tensors of a checkpoint and its configuration. Only headers are in memory; tensor bytes come through {@link Checkpoint.stream}.
 * Made by `openCheckpoint`.
 */
export class Checkpoint {
  /** Where the files come from. */
  readonly source: ByteSource;
  /** Every tensor by name, in file order. */
  readonly tensors: ReadonlyMap<string, CheckpointTensor>;
  /** Files that hold tensors, in the order in which they are read. */
  readonly files: readonly string[];
  /** Free text that the files carry, by key; of several files, the first one's. */
  readonly metadata: ReadonlyMap<string, string>;
  /** How `weights()` chooses formats. */
  readonly policy: WeightPolicy;
  /** Whether it has a configuration alone: every weight that a model asks for is taken to exist. */
  readonly declared: boolean;
  /** Version of each file when its header was read, where the source knows one. */
  readonly versions: ReadonlyMap<string, string>;

  constructor(parts: {
    source: ByteSource;
    tensors: ReadonlyMap<string, CheckpointTensor>;
    files: readonly string[];
    metadata: ReadonlyMap<string, string>;
    policy: WeightPolicy;
    versions?: ReadonlyMap<string, string>;
    declared?: boolean;
  }) {
    this.source = parts.source;
    this.tensors = parts.tensors;
    this.files = parts.files;
    this.metadata = parts.metadata;
    this.policy = parts.policy;
    this.versions = parts.versions ?? new Map();
    this.declared = parts.declared ?? false;
  }

  /**
   * The parsed config.json.
   *
   * @throws FileMissingError, ConfigFileError
   */
  config(options: ReadOptions = {}): Promise<Record<string, unknown>> {
    return readJsonObject(this.source, 'config.json', { ...options, maxBytes: maxConfigBytes });
  }

  /**
   * The parsed generation_config.json; undefined when the checkpoint has none.
   *
   * @throws ConfigFileError
   */
  async generationConfig(options: ReadOptions = {}): Promise<Record<string, unknown> | undefined> {
    const path = 'generation_config.json';
    if (!(await this.source.exists(path, options))) return undefined;
    return readJsonObject(this.source, path, { ...options, maxBytes: maxConfigBytes });
  }

  /**
   * The bytes of the named tensors, in file order and in slices of at most `sliceBytes`, the next slice being read while one is
   * used. Host memory is two slices, whatever the size of the checkpoint.
   *
   * A slice's `bytes` are overwritten once the slice after it is asked for.
   *
   * @throws WeightNameError for a name that is not in the checkpoint; AbortedError; the source's errors.
   */
  stream(names: Iterable<string>, options: StreamOptions = {}): AsyncGenerator<TensorSlice, void, undefined> {
    return streamSlices(this, names, options);
  }

  /** A fresh view of the tensors for a model to read its weights from. */
  weights(): Weights {
    return new Weights(this);
  }
}
