import { ArgumentError, dequantizeBlocks, float16Value, isBlockType } from '@forerun/tensor';
import type { SourceDType } from './weights.ts';

/**
 * Stored bytes as f32, exactly: F32, F16 (IEEE binary16) and BF16 (the upper half of an f32), little-endian, and whole blocks of GGUF files.
 *
 * @throws ArgumentError when the bytes are no whole number of elements.
 */
export function widen(source: SourceDType, bytes: Uint8Array): Float32Array {
  if (isBlockType(source)) return dequantizeBlocks(source, bytes);
  const elementBytes = source === 'F32' ? 4 : 2;
  if (bytes.length % elementBytes !== 0) {
    throw new ArgumentError(`Expected whole elements of ${elementBytes} bytes, got ${bytes.length} bytes.`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float32Array(bytes.length / elementBytes);
  if (source === 'BF16') {
    const words = new Uint32Array(values.buffer);
    for (let index = 0; index < words.length; index++) words[index] = view.getUint16(index * 2, true) << 16;
    return values;
  }
  for (let index = 0; index < values.length; index++) {
    values[index] = source === 'F32' ? view.getFloat32(index * 4, true) : float16Value(view.getUint16(index * 2, true));
  }
  return values;
}
