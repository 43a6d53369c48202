import {
  blockLayouts,
  type BlockType,
  DTypeError,
  formatOfBlocks,
  isBlockType,
  ShapeError,
  type Weight,
} from '@forerun/tensor';
import type { Checkpoint, CheckpointTensor } from '../checkpoint/checkpoint.ts';
import type { StreamOptions } from '../checkpoint/stream.ts';
import { widen } from './widen.ts';
import { isSourceDType, type SourceDType } from './weights.ts';

/** Where weights go: the device, which converts or quantises what it is given. */
export interface WeightSink {
  /**
   * Takes a piece of one weight.
   *
   * @param source - Dtype of `bytes`; the weight's own `format` says what to make of them.
   * @param elementOffset - First element in the flattened weight: a multiple of 64, or the start of a row where the row's length is
   *   not a multiple of 32.
   * @param bytes - Little-endian; overwritten after the returned promise resolves.
   */
  write(weight: Weight, source: SourceDType, elementOffset: number, bytes: Uint8Array): Promise<void>;
  /** Called once, after the last piece. */
  finish(): Promise<void>;
}

/** How weights are loaded. */
export type LoadOptions = Pick<StreamOptions, 'sliceBytes' | 'signal' | 'onProgress'>;

/**
 * Streams weights from a checkpoint into a sink, in file order. Host memory is two slices. A tensor that several weights name is read
 * once and written to each of them.
 *
 * @throws WeightNameError, ShapeError or DTypeError before anything is written when a weight does not fit the checkpoint;
 *   AbortedError, after which the sink has not been finished; the source's and the sink's errors.
 */
export async function loadWeights(
  checkpoint: Checkpoint,
  weights: readonly Weight[],
  sink: WeightSink,
  options: LoadOptions = {},
): Promise<void> {
  const byName = new Map<string, Set<Weight>>();
  for (const weight of weights) {
    const stored = checkpoint.tensors.get(weight.name);
    // A name that is not there is reported by the stream, together with the nearest ones.
    if (stored) checkFits(weight, stored);
    const same = byName.get(weight.name);
    if (same) same.add(weight);
    else byName.set(weight.name, new Set([weight]));
  }
  const slices = checkpoint.stream(byName.keys(), { ...options, granule: sliceGranule });
  for await (const { name, dtype, elementOffset, bytes } of slices) {
    for (const weight of byName.get(name)!) {
      if (isBlockType(dtype) && formatOfBlocks[dtype] !== weight.format) {
        await writeWidened(sink, weight, { type: dtype, elementOffset, bytes });
      } else await sink.write(weight, dtype as SourceDType, elementOffset, bytes);
    }
  }
  await sink.finish();
}

/** Values that blocks are dequantised to at a time. */
const widenedValues = 1 << 20;

/** Writes blocks as F32, for a weight of another format. */
async function writeWidened(
  sink: WeightSink,
  weight: Weight,
  { type, elementOffset, bytes }: { type: BlockType; elementOffset: number; bytes: Uint8Array },
): Promise<void> {
  const block = blockLayouts[formatOfBlocks[type]];
  const step = (widenedValues / block.values) * block.bytes;
  for (let begin = 0; begin < bytes.length; begin += step) {
    const values = widen(type, bytes.subarray(begin, begin + step));
    const offset = elementOffset + (begin / block.bytes) * block.values;
    await sink.write(weight, 'F32', offset, new Uint8Array(values.buffer));
  }
}

/**
 * Elements at whose multiples a tensor may be cut: whole blocks of a GGUF file; else 64, where blocks of 32 run on over row ends; else whole rows, an even number of
 * elements so that two-byte types end on whole words.
 */
function sliceGranule({ dtype, shape }: CheckpointTensor): number {
  if (isBlockType(dtype)) return Math.max(64, blockLayouts[formatOfBlocks[dtype]].values);
  const width = shape.at(-1) ?? 1;
  if (shape.length < 2 || width % 32 === 0) return 64;
  return width % 2 === 0 ? width : width * 2;
}

function checkFits(weight: Weight, stored: CheckpointTensor): void {
  if (weight.shape.length !== stored.shape.length || weight.shape.some((size, axis) => size !== stored.shape[axis])) {
    throw new ShapeError(
      `Weight "${weight.name}" is declared as [${weight.shape.join(', ')}], the checkpoint has [${stored.shape.join(', ')}].`,
    );
  }
  if (!isSourceDType(stored.dtype)) {
    throw new DTypeError(
      `Weight "${weight.name}" is stored as ${stored.dtype}; weights are read from F32, F16 or BF16.`,
    );
  }
}
