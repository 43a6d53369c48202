/** Writes GGUF files, piece by piece. */
import { ArgumentError, blockLayouts, formatOfBlocks, isBlockType } from '@forerun/tensor';
import type { GgufTensorType } from './types.ts';

/** A metadata entry of a GGUF file with its type. */
export type GgufEntry =
  | { readonly string: string }
  | { readonly bool: boolean }
  | { readonly u32: number }
  | { readonly f32: number }
  | { readonly strings: readonly string[] }
  | { readonly f32s: readonly number[] }
  | { readonly i32s: readonly number[] };

/** A tensor to write into a GGUF file; its bytes are asked for when their turn comes. */
export interface PlannedGgufTensor {
  readonly name: string;
  readonly type: GgufTensorType;
  /** Outermost dimension first. */
  readonly shape: readonly number[];
  /** Its bytes, as the type stores the values in row-major order. */
  bytes(): Promise<Uint8Array>;
}

const alignment = 32;
const typeIds: Readonly<Record<GgufTensorType, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  BF16: 30,
};
const valueIds = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 } as const;

class Growing {
  #bytes = new Uint8Array(1 << 16);
  length = 0;

  put(count: number, set: (view: DataView, at: number) => void): void {
    while (this.length + count > this.#bytes.length) {
      const longer = new Uint8Array(this.#bytes.length * 2);
      longer.set(this.#bytes);
      this.#bytes = longer;
    }
    set(new DataView(this.#bytes.buffer), this.length);
    this.length += count;
  }

  u32 = (value: number): void => this.put(4, (view, at) => view.setUint32(at, value, true));
  f32 = (value: number): void => this.put(4, (view, at) => view.setFloat32(at, value, true));
  u64 = (value: number): void => this.put(8, (view, at) => view.setBigUint64(at, BigInt(value), true));
  string = (text: string): void => {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    this.put(bytes.length, (view, at) => new Uint8Array(view.buffer).set(bytes, at));
  };

  array<T>(type: number, items: readonly T[], put: (item: T) => void): void {
    this.u32(valueIds.array);
    this.u32(type);
    this.u64(items.length);
    for (const item of items) put(item);
  }

  entry(value: GgufEntry): void {
    if ('strings' in value) return this.array(valueIds.string, value.strings, this.string);
    if ('f32s' in value) return this.array(valueIds.f32, value.f32s, this.f32);
    if ('i32s' in value) return this.array(valueIds.i32, value.i32s, this.u32);
    const [kind] = Object.keys(value) as ['string' | 'bool' | 'u32' | 'f32'];
    this.u32(valueIds[kind]);
    if ('string' in value) return this.string(value.string);
    if ('f32' in value) return this.f32(value.f32);
    if ('u32' in value) return this.u32(value.u32);
    this.put(1, (view, at) => view.setUint8(at, value.bool ? 1 : 0));
  }

  padded(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, Math.ceil(this.length / alignment) * alignment);
  }
}

function tensorBytes({ type, shape }: PlannedGgufTensor): number {
  const elements = shape.reduce((product, size) => product * size, 1);
  if (!isBlockType(type)) return elements * (type === 'F32' ? 4 : 2);
  const { bytes, values } = blockLayouts[formatOfBlocks[type]];
  return (elements / values) * bytes;
}

/**
 * The bytes of a GGUF file, in order: its header, and one piece a tensor. Nothing but the piece at hand is in memory.
 *
 * @throws {@link ArgumentError} for a tensor whose bytes do not fit its type and shape.
 */
export async function* ggufPieces(
  metadata: ReadonlyMap<string, GgufEntry>,
  tensors: readonly PlannedGgufTensor[],
): AsyncGenerator<Uint8Array> {
  const header = new Growing();
  header.u32(0x4655_4747);
  header.u32(3);
  header.u64(tensors.length);
  header.u64(metadata.size);
  for (const [key, value] of metadata) {
    header.string(key);
    header.entry(value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    header.string(tensor.name);
    header.u32(tensor.shape.length);
    for (const size of [...tensor.shape].reverse()) header.u64(size);
    header.u32(typeIds[tensor.type]);
    header.u64(offset);
    offset += Math.ceil(tensorBytes(tensor) / alignment) * alignment;
  }
  yield header.padded();
  for (const tensor of tensors) {
    const bytes = await tensor.bytes();
    if (bytes.length !== tensorBytes(tensor)) {
      throw new ArgumentError(
        `${tensor.name}: expected ${tensorBytes(tensor)} bytes of ${tensor.type} [${tensor.shape.join(', ')}], got ${bytes.length}.`,
      );
    }
    const padded = new Uint8Array(Math.ceil(bytes.length / alignment) * alignment);
    padded.set(bytes);
    yield padded;
  }
}
