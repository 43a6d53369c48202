/** What a decoder costs, from its configuration alone: the floors that measured times are compared with. */
import { weightBytes as bytesOf, type WeightFormat } from '@forerun/tensor';
import type { DecoderConfig } from './config/decoder-config.ts';

type Matrices = readonly (readonly [outputs: number, inputs: number])[];

/** Matrices `[N, K]` that a row of a forward pass is multiplied with, of all layers. */
function tokenMatrices(c: DecoderConfig): Matrices {
  return c.matricesPerToken ?? layerMatrices(c);
}

/** Matrices of all layers. */
function layerMatrices(c: DecoderConfig): Matrices {
  if (c.matrices) return c.matrices;
  const { hiddenSize: D, intermediateSize: F, numAttentionHeads: H, numKeyValueHeads: K, headDim: E } = c;
  const perLayer = [
    [(H + 2 * K) * E, D],
    [D, H * E],
    [2 * F, D],
    [D, F],
  ] as const;
  return Array.from({ length: c.numHiddenLayers }, () => perLayer).flat();
}

function bytes(format: WeightFormat, [rows, width]: readonly [number, number]): number {
  const { codes, scales } = bytesOf(format, rows, width);
  return codes + scales;
}

function sumBytes(format: WeightFormat, matrices: Matrices): number {
  return matrices.reduce((sum, shape) => sum + bytes(format, shape), 0);
}

/**
 * Bytes of all matrices in one format, a tied embedding once. Vectors (norms, biases), some thousandths of it, are left out.
 */
export function weightBytes(c: DecoderConfig, format: WeightFormat): number {
  const table = bytes(format, [c.vocabSize, c.hiddenSize]);
  return sumBytes(format, layerMatrices(c)) + table * (c.tieWordEmbeddings ? 1 : 2);
}

/**
 * Bytes of weights that one decode step reads: all matrices but an untied embedding, however many rows it has; of experts those that run on
 * one row.
 */
export function decodeWeightBytes(c: DecoderConfig, format: WeightFormat): number {
  return sumBytes(format, tokenMatrices(c)) + bytes(format, [c.vocabSize, c.hiddenSize]);
}

/** Tokens that a layer looks back on, of a context of `contextTokens`. */
function seenTokens(c: DecoderConfig, layer: number, contextTokens: number): number {
  return Math.min(contextTokens, c.slidingWindows[layer] ?? contextTokens);
}

/**
 * Floating-point operations of one token at a context of `contextTokens` (itself included): `2 N K` for each matrix, and
 * `4 H E s` in each layer for attention over the s tokens that it sees. Norms, rope and activations are left out.
 */
export function decodeFlops(c: DecoderConfig, contextTokens: number): number {
  const matrices = [...tokenMatrices(c), [c.vocabSize, c.hiddenSize] as const];
  const multiplied = matrices.reduce((sum, [rows, width]) => sum + 2 * rows * width, 0);
  return c.slidingWindows.reduce<number>(
    (sum, _, layer) => sum + 4 * c.numAttentionHeads * c.headDim * seenTokens(c, layer, contextTokens),
    multiplied,
  );
}

/** Positions behind its window that a layer keeps: those of a pass, and those that the loop may take back. */
const retainedTokens = 576;

/**
 * Bytes of keys and values that caches for `capacityTokens` hold, 4 (f32) or 2 (f16) an element. A layer with a window keeps at most the window
 * and 575 positions before it.
 */
export function cacheBytes(c: DecoderConfig, capacityTokens: number, cache: 'f32' | 'f16' = 'f32'): number {
  const slots = c.slidingWindows.map((window) => {
    if (window === 0) return 0;
    return Math.min(capacityTokens, (window ?? capacityTokens) - 1 + retainedTokens);
  });
  return slots.reduce((sum, count) => sum + count, 0) * 2 * c.numKeyValueHeads * c.headDim * (cache === 'f32' ? 4 : 2);
}

/** Bytes of keys and values that one decode step at a context of `contextTokens` reads. */
export function cacheReadBytes(c: DecoderConfig, contextTokens: number, cache: 'f32' | 'f16' = 'f32'): number {
  const tokens = c.slidingWindows.reduce<number>((sum, _, layer) => sum + seenTokens(c, layer, contextTokens), 0);
  return tokens * 2 * c.numKeyValueHeads * c.headDim * (cache === 'f32' ? 4 : 2);
}
