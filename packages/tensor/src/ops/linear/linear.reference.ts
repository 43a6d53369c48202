import type { NdArray } from '../../graph/operation.ts';

/** `y[…, n] = sum_k x[…, k] * w[n, k] + bias[n]` in float64. */
export function linearReference(x: NdArray, weight: NdArray, bias?: NdArray): NdArray {
  const [outputs, width] = weight.shape as readonly [number, number];
  const rows = x.data.length / width;
  const data = new Float64Array(rows * outputs);
  for (let row = 0; row < rows; row++) {
    for (let n = 0; n < outputs; n++) {
      let sum = bias ? bias.data[n]! : 0;
      for (let k = 0; k < width; k++) sum += x.data[row * width + k]! * weight.data[n * width + k]!;
      data[row * outputs + n] = sum;
    }
  }
  return { shape: [...x.shape.slice(0, -1), outputs], dtype: 'f32', data };
}
