import type { NdArray } from '../../graph/operation.ts';

/** `y[m] = b + sum over j of w[j] x[p - (k - 1) + j]`, p being the position of row m; the record gives what lies before the rows. */
export function convolutionReference(
  [x, weight, record, length, bias]: readonly [NdArray, NdArray, NdArray, NdArray, NdArray | undefined],
  ringRows: number,
): Float64Array {
  const [rows, width] = x.shape as readonly [number, number];
  const taps = weight.shape.at(-1)!;
  const begin = length.data[0]!;
  const inputAt = (position: number, channel: number): number => {
    if (position < 0) return 0;
    if (position >= begin) return x.data[(position - begin) * width + channel]!;
    return record.data[(position % ringRows) * width + channel]!;
  };
  return Float64Array.from({ length: rows * width }, (_, i) => {
    const [row, channel] = [Math.floor(i / width), i % width];
    let sum = bias?.data[channel] ?? 0;
    for (let tap = 0; tap < taps; tap++) {
      sum += weight.data[channel * taps + tap]! * inputAt(begin + row - (taps - 1) + tap, channel);
    }
    return sum;
  });
}

/** Writes the rows in use to their places in the record. */
export function recordReference(
  [x, record, length, count]: readonly [NdArray, NdArray, NdArray, NdArray],
  ringRows: number,
): void {
  const [rows, width] = x.shape as readonly [number, number];
  for (let row = 0; row < Math.min(count.data[0]!, rows); row++) {
    const slot = (length.data[0]! + row) % ringRows;
    record.data.set(x.data.subarray(row * width, (row + 1) * width), slot * width);
  }
}
