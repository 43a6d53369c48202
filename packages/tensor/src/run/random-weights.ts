import { ArgumentError } from '../errors.ts';
import { isBlockFormat } from '../graph/block-types.ts';
import type { Weight } from '../graph/weight.ts';
import { rowBlocks, rowWords } from '../graph/weight.ts';
import type { AnyKernel } from '../kernel/define-kernel.ts';
import type { RandomContent } from '../ops/convert-weight/random-weight.wgsl.ts';
import { randomWeightKernel, randomWorkgroup } from '../ops/convert-weight/random-weight.wgsl.ts';
import type { SingleDispatch } from './dispatch-once.ts';
import { submitOnce } from './dispatch-once.ts';
import type { WeightStore } from './weight-store.ts';

/** Standard deviation of values drawn uniformly from all that a format has, over the block's scale. */
const codeDeviation = {
  q8: 73.9,
  q4: 4.61,
  q4_1: 4.61,
  q5_0: 9.23,
  q5_1: 9.23,
  q4_k: 258,
  q5_k: 527,
  q6_k: 1366,
} as const;

function fills(store: WeightStore, weight: Weight, { seed, scale }: { seed: number; scale: number }): SingleDispatch[] {
  const { format, width, name } = weight;
  const deviation = scale / Math.sqrt(width);
  const vector = weight.shape.length === 1;
  const fill = (
    content: RandomContent,
    { buffer, begin, end }: { buffer: GPUBuffer; begin: number; end: number },
    spread: number,
  ): SingleDispatch => ({
    kernel: randomWeightKernel(content) as unknown as AnyKernel,
    constants: { content },
    uniforms: { begin, count: end - begin, seed, centre: vector ? 1 : 0, spread },
    buffers: { words: buffer },
    workgroups: Math.ceil((end - begin) / randomWorkgroup),
    label: name,
  });
  return store.parts(weight).flatMap(({ rowBegin, rowEnd, rowOffset, codes, scales }) => {
    const words = rowWords(format, width);
    const rows = rowEnd - rowBegin;
    const codesAt = { buffer: store.buffer(codes), begin: rowOffset * words, end: (rowOffset + rows) * words };
    if (!isBlockFormat(format)) return [fill(format, codesAt, vector ? 0.1 * scale : Math.sqrt(3) * deviation)];
    const spread = deviation / codeDeviation[format];
    const values = fill(format, codesAt, spread);
    if (!scales) return [values];
    const blocks = rowBlocks(format, width);
    const begin = Math.floor((rowOffset * blocks) / 2);
    const end = Math.ceil(((rowOffset + rows) * blocks) / 2);
    return [values, fill('scales', { buffer: store.buffer(scales), begin, end }, spread)];
  });
}

/**
 * Fills every placed weight with random values of a sane size, made on the device in the weight's own format: matrices around 0 with a
 * standard deviation of `scale / sqrt(K)`, vectors around 1. For benchmarks, where the time matters and the values do not.
 *
 * @param options.seed - The same seed gives the same bytes.
 * @param options.scale - Default 1.
 * @throws ArgumentError if the store's memory is not allocated.
 */
export async function fillRandom(
  store: WeightStore,
  options: { readonly seed: number; readonly scale?: number },
): Promise<void> {
  const { seed, scale = 1 } = options;
  if (!Number.isSafeInteger(seed) || seed < 0 || !Number.isFinite(scale)) {
    throw new ArgumentError(`fillRandom: expected a seed >= 0 and a finite scale, got ${seed} and ${scale}.`);
  }
  for (const [index, weight] of store.weights.entries()) {
    const { done } = await submitOnce(store.device, fills(store, weight, { seed: seed * 65_537 + index, scale }));
    await done;
  }
}
