import type { WeightPart } from '../compile/lowering.ts';
import type { Device } from '../device/device.ts';
import { ArgumentError, ForerunError } from '../errors.ts';
import { type BlockType, blockLayouts, formatOfBlocks, isBlockFormat, isBlockType } from '../graph/block-types.ts';
import { elementCount } from '../graph/dtype.ts';
import type { Weight } from '../graph/weight.ts';
import type { AnyKernel } from '../kernel/define-kernel.ts';
import { conversionFlags } from '../ops/convert-weight/conversion-flags.ts';
import type { ConvertedFormat, SourceDType } from '../ops/convert-weight/convert-weight.wgsl.ts';
import {
  convertKernel,
  convertWorkgroup,
  itemsPerRow,
  valuesPerItem,
} from '../ops/convert-weight/convert-weight.wgsl.ts';
import { copyBlocksKernel } from '../ops/convert-weight/copy-blocks.wgsl.ts';
import { submitOnce } from './dispatch-once.ts';
import type { WeightStore } from './weight-store.ts';

/** Weights of a checkpoint cannot be used: not finite, too large for their format, or incomplete. The message names them. */
export class WeightValueError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('weight-value', message, options);
  }
}

/** Most bytes that one `write` takes. */
const maxSliceBytes = 64 << 20;

const smallestStagingBytes = 64 << 10;
const flagsPerPage = 1024;

/** A staging buffer and the work that still reads it. */
interface Slot {
  buffer?: GPUBuffer;
  busy: Promise<void>;
}

interface Progress {
  readonly index: number;
  elements: number;
}

/** Stored bytes of a value; of blocks, their share. */
function bytesPerValue(source: SourceDType | BlockType): number {
  if (!isBlockType(source)) return source === 'F32' ? 4 : 2;
  const { bytes, values } = blockLayouts[formatOfBlocks[source]];
  return bytes / values;
}

function checkSource({ name, format }: Weight, source: SourceDType | BlockType): void {
  if (isBlockType(source)) {
    if (format === formatOfBlocks[source]) return;
    throw new ArgumentError(
      `Weight "${name}": ${source} blocks are written into ${formatOfBlocks[source]} only, not into ${format}; dequantise them first.`,
    );
  }
  if (!isBlockFormat(format) || format === 'q8' || format === 'q4') return;
  throw new ArgumentError(
    `Weight "${name}": ${format} is written from ${blockLayouts[format].type} blocks only, got ${source}.`,
  );
}

function kernelOf({ format }: Weight, source: SourceDType | BlockType): AnyKernel {
  const kernel = isBlockType(source)
    ? copyBlocksKernel(formatOfBlocks[source])
    : convertKernel(format as ConvertedFormat);
  return kernel as unknown as AnyKernel;
}

/** A run of items (words or blocks) of a piece that lies in one part of the weight. */
interface PieceRun {
  readonly part: WeightPart;
  readonly uniforms: Readonly<Record<string, number>>;
  readonly items: number;
}

/** The runs of `elements` values from `elementOffset` of a weight, one for each part that they touch. */
function pieceRuns(
  weight: Weight,
  parts: readonly WeightPart[],
  piece: { begin: number; elements: number; flag: number },
): PieceRun[] {
  const { width, format } = weight;
  const [perItem, perRow] = [valuesPerItem(format), itemsPerRow(format, width)];
  const end = piece.begin + piece.elements;
  const [firstRow, lastRow] = [Math.floor(piece.begin / width), Math.floor((end - 1) / width)];
  const firstColumn = piece.begin - firstRow * width;
  const ragged = end % width === 0 ? 0 : (end - lastRow * width) % perItem;
  if (firstColumn % perItem !== 0 || ragged !== 0) {
    throw new ArgumentError(
      `Weight "${weight.name}": a slice of ${format} must begin and end at multiples of ${perItem} values of a row (of ${width}) or at its ends; got elements ${piece.begin} to ${end}.`,
    );
  }
  const firstItem = firstColumn / perItem;
  const endItem = (lastRow - firstRow) * perRow + Math.floor((end - 1 - lastRow * width) / perItem) + 1;
  return parts.flatMap((part) => {
    const begin = Math.max(firstItem, (part.rowBegin - firstRow) * perRow);
    const items = Math.min(endItem, (part.rowEnd - firstRow) * perRow) - begin;
    const rowOffset = firstRow - part.rowBegin + part.rowOffset;
    const uniforms = { width, firstItem: begin, items, itemsPerRow: perRow, firstColumn, rowOffset, flag: piece.flag };
    return items > 0 ? [{ part, uniforms, items }] : [];
  });
}

/**
 * Takes the stored bytes of weights and converts them into their places on the device: any of F32, F16 and BF16 into any format but
 * GGUF's, quantised there where the format is `q8` or `q4`; blocks of a GGUF file into the format that keeps them as they are. At most two slices are under way; a further `write` waits.
 */
export class WeightUpload {
  readonly #store: WeightStore;
  readonly #device: Device;
  readonly #slots: readonly Slot[] = [{ busy: Promise.resolve() }, { busy: Promise.resolve() }];
  readonly #progress = new Map<Weight, Progress>();
  readonly #flagPages: GPUBuffer[] = [];
  #next = 0;

  constructor(store: WeightStore) {
    this.#store = store;
    this.#device = store.device;
  }

  /**
   * Writes a piece of a weight whose memory is allocated. The bytes may be overwritten once the promise resolves.
   *
   * @param source - Stored dtype of `bytes`, little-endian.
   * @param elementOffset - First element (of blocks: the first value) in the flattened weight. Pieces begin and end at whole words or blocks of the format, or at
   *   ends of rows.
   * @param bytes - At most 64 MiB.
   * @throws ArgumentError for a piece that does not fit the weight; the device's failure.
   */
  async write(
    weight: Weight,
    source: SourceDType | BlockType,
    elementOffset: number,
    bytes: Uint8Array,
  ): Promise<void> {
    checkSource(weight, source);
    const elementBytes = bytesPerValue(source);
    const elements = bytes.length / elementBytes;
    const total = elementCount(weight.shape);
    if (
      !Number.isInteger(elements) ||
      bytes.length > maxSliceBytes ||
      !(elementOffset >= 0) ||
      elementOffset + elements > total
    ) {
      throw new ArgumentError(
        `Weight "${weight.name}" has ${total} elements; expected at most ${maxSliceBytes} bytes of whole ${source} elements within them, got ${bytes.length} bytes at element ${elementOffset}.`,
      );
    }
    if (elements === 0) return;
    const progress = this.#progressOf(weight);
    const parts = this.#store.parts(weight);
    const runs = pieceRuns(weight, parts, { begin: elementOffset, elements, flag: progress.index % flagsPerPage });
    const kernel = kernelOf(weight, source);
    const slot = this.#slots[this.#next++ % this.#slots.length]!;
    await slot.busy;
    this.#device.check();
    const staged = this.#stage(slot, bytes);
    const flags = this.#flagPages[Math.floor(progress.index / flagsPerPage)]!;
    const dispatches = runs.map(({ part, uniforms, items }) => ({
      kernel,
      constants: { source, format: weight.format },
      uniforms,
      buffers: {
        source: staged,
        codes: this.#store.buffer(part.codes),
        flags,
        ...(part.scales ? { scales: this.#store.buffer(part.scales) } : {}),
      },
      workgroups: Math.ceil(items / convertWorkgroup),
      label: weight.name,
    }));
    const { done } = await submitOnce(this.#device, dispatches);
    slot.busy = done;
    progress.elements += elements;
  }

  /**
   * Waits for the device and checks what was written; frees the staging memory whether or not it throws.
   * @throws WeightValueError naming weights that are not finite, too large for their format, or of which pieces are missing.
   */
  async finish(): Promise<void> {
    try {
      for (const { busy } of this.#slots) await busy;
      const flags = await this.#readFlags();
      const named = (bit: number) =>
        [...this.#progress].filter(([, { index }]) => (flags[index]! & bit) !== 0).map(([weight]) => weight);
      const problems = [
        ...named(conversionFlags.notFinite).map(
          ({ name }) => `"${name}" has values that are not finite; the checkpoint is damaged.`,
        ),
        ...named(conversionFlags.tooLarge).map(
          ({ name, format }) => `"${name}" has values too large for ${format}; load it in f32 or bf16.`,
        ),
        ...[...this.#progress]
          .filter(([weight, { elements }]) => elements !== elementCount(weight.shape))
          .map(([{ name, shape }, { elements }]) => `"${name}" got ${elements} elements of ${elementCount(shape)}.`),
      ];
      if (problems.length > 0) {
        const more = problems.length > 8 ? ` And ${problems.length - 8} more.` : '';
        throw new WeightValueError(`Weights cannot be used: ${problems.slice(0, 8).join(' ')}${more}`);
      }
    } finally {
      for (const slot of this.#slots) {
        slot.buffer?.destroy();
        delete slot.buffer;
      }
      for (const page of this.#flagPages.splice(0)) page.destroy();
      this.#progress.clear();
    }
  }

  #progressOf(weight: Weight): Progress {
    const known = this.#progress.get(weight);
    if (known) return known;
    const made = { index: this.#progress.size, elements: 0 };
    this.#progress.set(weight, made);
    if (made.index % flagsPerPage === 0) {
      this.#flagPages.push(this.#device.storage(flagsPerPage * 4, 'weight flags', 'staging'));
    }
    return made;
  }

  #stage(slot: Slot, bytes: Uint8Array): GPUBuffer {
    const { queue } = this.#device.gpu;
    if (!slot.buffer || slot.buffer.size < bytes.length) {
      slot.buffer?.destroy();
      const size = Math.min(maxSliceBytes, Math.max(smallestStagingBytes, 2 ** Math.ceil(Math.log2(bytes.length))));
      slot.buffer = this.#device.storage(size, 'weight staging', 'staging');
    }
    // Writes take whole words; half an element pair at the end goes padded.
    const whole = bytes.length - (bytes.length % 4);
    const view = bytes as Uint8Array<ArrayBuffer>;
    if (whole > 0) queue.writeBuffer(slot.buffer, 0, view, 0, whole);
    if (whole < bytes.length) {
      const tail = new Uint8Array(4);
      tail.set(bytes.subarray(whole));
      queue.writeBuffer(slot.buffer, whole, tail);
    }
    return slot.buffer;
  }

  async #readFlags(): Promise<Uint32Array> {
    const flags = new Uint32Array(this.#flagPages.length * flagsPerPage);
    for (const [page, buffer] of this.#flagPages.entries()) {
      const loan = this.#device.staging.borrow(flagsPerPage * 4);
      const encoder = this.#device.gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, 0, loan.buffer, 0, flagsPerPage * 4);
      this.#device.gpu.queue.submit([encoder.finish()]);
      flags.set(new Uint32Array(await loan.read(flagsPerPage * 4)), page * flagsPerPage);
    }
    return flags;
  }
}
