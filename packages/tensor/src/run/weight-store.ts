import type { BufferView, WeightPart } from '../compile/lowering.ts';
import type { Device } from '../device/device.ts';
import { ArgumentError } from '../errors.ts';
import type { Weight } from '../graph/weight.ts';
import { weightBytes } from '../graph/weight.ts';

/** A run of rows of one or several weights in one pair of buffers. */
interface Placement {
  readonly label: string;
  readonly codesBytes: number;
  readonly scalesBytes: number;
  codes?: GPUBuffer;
  scales?: GPUBuffer;
}

/** Where rows of one weight lie. */
interface Stretch {
  readonly placement: Placement;
  readonly rowBegin: number;
  readonly rowEnd: number;
  readonly rowOffset: number;
}

/**
 * Decides where weights lie on a device. Programs are compiled first: matrices that an operation reads together are put next to
 * each other as one matrix, tables larger than a binding are split by rows, and only then memory is taken and bytes are uploaded.
 */
export class WeightStore {
  readonly device: Device;
  readonly #stretches = new Map<Weight, readonly Stretch[]>();
  readonly #placements: Placement[] = [];
  readonly #filled = new Set<Weight>();
  readonly #bindingBytes: number;
  #allocated = false;

  /** @param options.bindingBytes - Largest part in bytes, below the device's own limit; for tests of split tables. */
  constructor(device: Device, options: { readonly bindingBytes?: number } = {}) {
    this.device = device;
    this.#bindingBytes = options.bindingBytes ?? Infinity;
  }

  /** Weights placed so far. */
  get weights(): readonly Weight[] {
    return [...this.#stretches.keys()];
  }

  /** Device bytes that the placed weights take. */
  get byteLength(): number {
    return this.#placements.reduce((sum, { codesBytes, scalesBytes }) => sum + codesBytes + scalesBytes, 0);
  }

  /** Device bytes that one weight takes. */
  bytesOf(weight: Weight): number {
    const { codes, scales } = weightBytes(weight.format, weight.rows, weight.width);
    return codes + scales;
  }

  /**
   * Puts weights of one width and format next to each other, unless they have places already.
   * @returns whether they now lie adjacent, in this order, in one binding.
   */
  group(weights: readonly Weight[]): boolean {
    const [first] = weights;
    if (!first) return false;
    const rows = weights.reduce((sum, weight) => sum + weight.rows, 0);
    const { codes, scales } = weightBytes(first.format, rows, first.width);
    const alike = weights.every((weight) => weight.format === first.format && weight.width === first.width);
    if (!alike || Math.max(codes, scales) > this.#bindingLimit()) return false;
    if (weights.every((weight) => !this.#stretches.has(weight)) && new Set(weights).size === weights.length) {
      const placement = this.#place(weights.map(({ name }) => name).join(' + '), codes, scales);
      let rowOffset = 0;
      for (const weight of weights) {
        this.#stretches.set(weight, [{ placement, rowBegin: 0, rowEnd: weight.rows, rowOffset }]);
        rowOffset += weight.rows;
      }
    }
    let next: number | undefined;
    const placement = this.#stretches.get(first)?.[0]?.placement;
    return weights.every((weight) => {
      const stretches = this.#stretches.get(weight);
      const stretch = stretches?.[0];
      if (stretches?.length !== 1 || !stretch || stretch.placement !== placement) return false;
      const adjacent = next === undefined || stretch.rowOffset === next;
      next = stretch.rowOffset + weight.rows;
      return adjacent;
    });
  }

  /** The parts of a weight, placing it alone if it has no place yet. */
  parts(weight: Weight): readonly WeightPart[] {
    if (!this.#stretches.has(weight)) this.#stretches.set(weight, this.#split(weight));
    return this.#stretches.get(weight)!.map(({ placement, rowBegin, rowEnd, rowOffset }) => ({
      rowBegin,
      rowEnd,
      rowOffset,
      ...this.#views(placement),
    }));
  }

  /** One part that covers grouped weights, the first row of the first being row `rowOffset`. */
  grouped(weights: readonly Weight[]): WeightPart | undefined {
    if (!this.group(weights)) return undefined;
    const { placement, rowOffset } = this.#stretches.get(weights[0]!)![0]!;
    const rows = weights.reduce((sum, weight) => sum + weight.rows, 0);
    return { rowBegin: 0, rowEnd: rows, rowOffset, ...this.#views(placement) };
  }

  /**
   * Takes the memory for all that is placed; called again after later programs placed more.
   * @returns the weights that got their memory now, whose bytes are still to be uploaded.
   */
  allocate(): readonly Weight[] {
    for (const placement of this.#placements) {
      placement.codes ??= this.device.storage(placement.codesBytes, placement.label, 'weights');
      if (placement.scalesBytes > 0) {
        placement.scales ??= this.device.storage(placement.scalesBytes, `${placement.label} scales`, 'weights');
      }
    }
    this.#allocated = true;
    const fresh = this.weights.filter((weight) => !this.#filled.has(weight));
    for (const weight of fresh) this.#filled.add(weight);
    return fresh;
  }

  /** The buffers behind a view's placement; memory must have been taken. */
  resolve(placement: object, array: 'codes' | 'scales'): GPUBuffer {
    const buffer = (placement as Placement)[array];
    if (!buffer) {
      throw new ArgumentError(
        `Weight memory is not allocated yet${this.#allocated ? ' for a late program' : ''}; call allocate() first.`,
      );
    }
    return buffer;
  }

  /** The buffer behind a view of a part; memory must have been taken. */
  buffer({ source }: BufferView): GPUBuffer {
    if (source.kind !== 'weight') throw new ArgumentError(`Expected a view of a weight, got one of a ${source.kind}.`);
    return source.store.resolve(source.placement, source.array);
  }

  /** Frees the memory of all weights. */
  destroy(): void {
    for (const placement of this.#placements) {
      placement.codes?.destroy();
      placement.scales?.destroy();
    }
  }

  #bindingLimit(): number {
    const { maxStorageBufferBindingSize, maxBufferSize } = this.device.limits;
    return Math.min(maxStorageBufferBindingSize, maxBufferSize, this.#bindingBytes);
  }

  #split(weight: Weight): readonly Stretch[] {
    const limit = this.#bindingLimit();
    const row = weightBytes(weight.format, 2, weight.width);
    const evenRows = Math.max(2, Math.floor(limit / (Math.max(row.codes, row.scales) / 2) / 2) * 2);
    const stretches: Stretch[] = [];
    for (let rowBegin = 0; rowBegin < weight.rows; rowBegin += evenRows) {
      const rowEnd = Math.min(rowBegin + evenRows, weight.rows);
      const { codes, scales } = weightBytes(weight.format, rowEnd - rowBegin, weight.width);
      const label = rowEnd - rowBegin === weight.rows ? weight.name : `${weight.name} rows ${rowBegin}..${rowEnd}`;
      stretches.push({ placement: this.#place(label, codes, scales), rowBegin, rowEnd, rowOffset: 0 });
    }
    return stretches;
  }

  #place(label: string, codesBytes: number, scalesBytes: number): Placement {
    const placement: Placement = { label, codesBytes, scalesBytes };
    this.#placements.push(placement);
    return placement;
  }

  #views(placement: Placement): { codes: BufferView; scales: BufferView | undefined } {
    const view = (array: 'codes' | 'scales'): BufferView => ({
      source: { kind: 'weight', store: this, placement, array },
    });
    return { codes: view('codes'), scales: placement.scalesBytes > 0 ? view('scales') : undefined };
  }
}
