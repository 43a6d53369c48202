import { ArgumentError } from '@forerun/tensor';
import { FileChangedError, WeightNameError, throwIfAborted } from '../errors.ts';
import type { ByteReader } from '../sources/byte-source.ts';
import { nearestNames } from '../weights/nearest.ts';
import type { Checkpoint, CheckpointTensor } from './checkpoint.ts';
import { storedBits, type StoredDType } from './stored-dtype.ts';
import { turnRowsBack } from './turned-rows.ts';

/** A piece of one tensor. */
export interface TensorSlice {
  readonly name: string;
  readonly dtype: StoredDType;
  /** Index of the slice's first element in the flattened tensor. */
  readonly elementOffset: number;
  /** The stored bytes, little-endian; overwritten once the next slice is asked for. */
  readonly bytes: Uint8Array;
}

/** How far a load has come; bytes are those of the checkpoint. */
export interface LoadProgress {
  readonly loadedBytes: number;
  readonly totalBytes: number;
  /** The tensor whose slice was used last. */
  readonly name: string;
  /** Files: the one being read, how many are wholly read, how many there are to read. */
  readonly files: { readonly current: string; readonly done: number; readonly total: number };
}

/** How tensor bytes are streamed. */
export interface StreamOptions {
  /** Largest slice in bytes, 4 KiB to 64 MiB. Default 16 MiB. */
  readonly sliceBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called when a slice has been used. */
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  /** Elements of which every slice but a tensor's last holds a multiple. Default 64. */
  readonly granule?: ((tensor: CheckpointTensor) => number) | undefined;
}

/** Largest slice, in bytes. */
export const maxSliceBytes = 64 << 20;
/** Bytes of a slice without a choice: two of them are in memory at once. */
const defaultSliceBytes = 16 << 20;
const minSliceBytes = 4 << 10;

/** A gap of at most this many bytes between two wanted tensors is read over instead of opening the file again. */
const readOverBytes = 1 << 20;

interface Piece {
  readonly tensor: CheckpointTensor;
  readonly elementOffset: number;
  readonly begin: number;
  readonly bytes: number;
}

/** The generator behind `Checkpoint.stream`. */
export async function* streamSlices(
  checkpoint: Checkpoint,
  names: Iterable<string>,
  options: StreamOptions,
): AsyncGenerator<TensorSlice, void, undefined> {
  const { sliceBytes = defaultSliceBytes, signal, onProgress, granule = () => 64 } = options;
  if (!Number.isSafeInteger(sliceBytes) || sliceBytes < minSliceBytes || sliceBytes > maxSliceBytes) {
    throw new ArgumentError(`Expected sliceBytes between ${minSliceBytes} and ${maxSliceBytes}, got ${sliceBytes}.`);
  }
  throwIfAborted(signal, `loading ${checkpoint.source.describe()}`);
  const tensors = inFileOrder(checkpoint, names);
  const pieces = piecesOf(tensors, sliceBytes, granule);
  const largestBytes = pieces.reduce((most, piece) => Math.max(most, piece.bytes), 0);
  const buffers = [new Uint8Array(largestBytes), new Uint8Array(pieces.length > 1 ? largestBytes : 0)] as const;
  const totalBytes = pieces.reduce((sum, piece) => sum + piece.bytes, 0);
  const files = [...new Set(pieces.map((piece) => piece.tensor.file))];

  const stop = new AbortController();
  const reads = new RunReader(checkpoint, signal ? AbortSignal.any([signal, stop.signal]) : stop.signal);
  const fill = async (index: number): Promise<Uint8Array> => {
    const piece = pieces[index]!;
    const target = buffers[index % 2]!.subarray(0, piece.bytes);
    await reads.read(piece, endOfRun(pieces, index), target);
    const { headRows, shape } = piece.tensor;
    if (headRows) turnRowsBack(target, headRows, (rowElements(shape) * storedBits(piece.tensor.dtype)) / 8);
    return target;
  };

  let loadedBytes = 0;
  let pending: Promise<Uint8Array> | undefined;
  try {
    for (let index = 0; index < pieces.length; index++) {
      const { tensor, elementOffset } = pieces[index]!;
      const bytes = await (pending ?? fill(index));
      pending = index + 1 < pieces.length ? fill(index + 1) : undefined;
      // Whoever waits for it later sees the failure; until then it must not count as unhandled.
      pending?.catch(() => {});
      yield { name: tensor.name, dtype: tensor.dtype, elementOffset, bytes };
      throwIfAborted(signal, `loading ${checkpoint.source.describe()}`);
      loadedBytes += bytes.length;
      const fileDone = pieces[index + 1]?.tensor.file !== tensor.file;
      onProgress?.({
        loadedBytes,
        totalBytes,
        name: tensor.name,
        files: { current: tensor.file, done: files.indexOf(tensor.file) + (fileDone ? 1 : 0), total: files.length },
      });
    }
  } finally {
    stop.abort();
    await pending?.catch(() => {});
    await reads.close();
  }
}

/** Reads pieces in order, keeping one file open as long as they lie close together. */
class RunReader {
  readonly #checkpoint: Checkpoint;
  readonly #signal: AbortSignal;
  #open: { file: string; position: number; end: number; reader: ByteReader } | undefined;

  constructor(checkpoint: Checkpoint, signal: AbortSignal) {
    this.#checkpoint = checkpoint;
    this.#signal = signal;
  }

  async read(piece: Piece, runEnd: number, target: Uint8Array): Promise<void> {
    const { file } = piece.tensor;
    let open = this.#open;
    if (!open || open.file !== file || piece.begin < open.position || piece.begin + piece.bytes > open.end) {
      await this.close();
      await this.#checkUnchanged(file);
      const reader = await this.#checkpoint.source.open(file, piece.begin, runEnd, { signal: this.#signal });
      open = this.#open = { file, position: piece.begin, end: runEnd, reader };
    }
    if (piece.begin > open.position) await open.reader.read(new Uint8Array(piece.begin - open.position));
    await open.reader.read(target);
    open.position = piece.begin + piece.bytes;
  }

  async close(): Promise<void> {
    await this.#open?.reader.close();
    this.#open = undefined;
  }

  /** Offsets are those of the header that was read; in another version of the file they would point at anything. */
  async #checkUnchanged(file: string): Promise<void> {
    const { source, versions } = this.#checkpoint;
    const version = await source.version(file, { signal: this.#signal });
    if (version === (versions.get(file) ?? version)) return;
    throw new FileChangedError(`${source.describe()}/${file} changed after the checkpoint was opened. Open it again.`);
  }
}

function inFileOrder(checkpoint: Checkpoint, names: Iterable<string>): CheckpointTensor[] {
  const order = new Map(checkpoint.files.map((file, index) => [file, index]));
  const tensors = [...new Set(names)].map((name) => {
    const tensor = checkpoint.tensors.get(name);
    if (tensor) return tensor;
    const near = nearestNames(name, checkpoint.tensors.keys());
    throw new WeightNameError(
      `${checkpoint.source.describe()} has no tensor "${name}".${near.length > 0 ? ` Nearest: ${near.join(', ')}.` : ''}`,
    );
  });
  return tensors.sort((a, b) => order.get(a.file)! - order.get(b.file)! || a.begin - b.begin);
}

/** Elements behind one index of the first dimension. */
function rowElements(shape: readonly number[]): number {
  return shape.slice(1).reduce((product, size) => product * size, 1);
}

function piecesOf(
  tensors: readonly CheckpointTensor[],
  sliceBytes: number,
  granule: (tensor: CheckpointTensor) => number,
): Piece[] {
  const pieces: Piece[] = [];
  for (const tensor of tensors) {
    const bits = storedBits(tensor.dtype);
    const step = tensor.headRows ? tensor.headRows * rowElements(tensor.shape) : granule(tensor);
    const most = Math.floor((sliceBytes * 8) / bits / step) * step;
    const elements = ((tensor.end - tensor.begin) * 8) / bits;
    if (most === 0 && elements > 0) {
      throw new ArgumentError(
        `Tensor "${tensor.name}" has to be cut at multiples of ${step} elements (${(step * bits) / 8} bytes), but sliceBytes is ${sliceBytes}. Give larger slices.`,
      );
    }
    for (let offset = 0; offset < elements; offset += most) {
      const count = Math.min(most, elements - offset);
      pieces.push({
        tensor,
        elementOffset: offset,
        begin: tensor.begin + (offset * bits) / 8,
        bytes: (count * bits) / 8,
      });
    }
  }
  return pieces;
}

/** Where the bytes end that one opened file can serve, beginning with piece `index`. */
function endOfRun(pieces: readonly Piece[], index: number): number {
  let { begin, bytes } = pieces[index]!;
  const { file } = pieces[index]!.tensor;
  for (let next = index + 1; next < pieces.length; next++) {
    const piece = pieces[next]!;
    if (piece.tensor.file !== file || piece.begin - (begin + bytes) > readOverBytes) break;
    ({ begin, bytes } = piece);
  }
  return begin + bytes;
}
