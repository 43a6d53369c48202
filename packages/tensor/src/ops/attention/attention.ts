import { ArgumentError, DTypeError, ShapeError } from '../../errors.ts';
import type { AdapterKind } from '../../device/device.ts';
import { elementCount, shapeText } from '../../graph/dtype.ts';
import type { GraphNode } from '../../graph/graph.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import { expectDType, expectShape } from '../../graph/expect.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { expectVectorWeight } from '../layer-norm/vector-weight.ts';
import type { KvCache } from '../append/cache.ts';
import { cacheLayout } from '../append/cache.ts';
import { attentionReference } from './attention.reference.ts';
import { attentionFamilies, flashRows } from './family.ts';
import { lowerFlash } from './lower-flash.ts';
import { lowerSplit, splitOffers } from './lower-split.ts';
import type { AttentionAttributes } from './operands.ts';
import { attentionOperands } from './operands.ts';

/** Softmax attention of rows over a cache. */
export const attentionOperation = defineOperation<AttentionAttributes>({
  name: 'attention',
  infer([q, keys, values]) {
    const { valueDim } = cacheLayout({ keys: keys as State, values: values as State });
    const [rows, heads] = (q as Tensor).shape as [number, number];
    return [{ shape: [rows, heads, valueDim], dtype: 'f32' }];
  },
  reference(operands, attributes) {
    const { q, keys, values, ...rows } = attentionOperands(operands, attributes);
    return [attentionReference(q, { keys, values }, rows, attributes)];
  },
  lower(lowering, node) {
    const { kind } = lowering.device.adapter;
    if (methodOf(node, kind) === 'flash') lowerFlash(lowering, node);
    else lowerSplit(lowering, node, node.attributes.family ?? attentionFamilies[kind]);
  },
  offersPrepared: ({ device }, node, form) =>
    methodOf(node, device.adapter.kind) === 'split' && splitOffers(node, form),
});

/** Which kernels a node takes: tiles of queries, or keys split into partials. */
function methodOf({ attributes, outputs }: GraphNode<AttentionAttributes>, kind: AdapterKind): 'flash' | 'split' {
  const { tree, method } = attributes;
  return method ?? (!tree && (outputs[0]!.shape[0] ?? 0) >= flashRows[kind] ? 'flash' : 'split');
}

function check(
  q: Tensor,
  cache: KvCache,
  rows: AttentionRows,
  { window, softcap, sinks, scale }: AttentionOptions,
): void {
  const { kvHeads, keyDim } = cacheLayout(cache);
  if (q.dtype !== 'f32') throw new DTypeError(`attention: expected q as f32, got ${q.dtype}.`);
  if (q.shape.length !== 3 || q.shape[2] !== keyDim || q.shape[1]! % kvHeads !== 0) {
    throw new ShapeError(
      `attention: expected q as [M, H, ${keyDim}] with H a multiple of the cache's ${kvHeads} kv heads, got ${shapeText(q.shape)}.`,
    );
  }
  const expected: Record<string, readonly [Tensor, number]> = {
    depths: [rows.depths, q.shape[0]!],
    count: [rows.count, 1],
    length: [rows.length, 1],
  };
  for (const [name, [tensor, size]] of Object.entries(expected)) {
    if (tensor.dtype !== 'u32') throw new DTypeError(`attention: expected ${name} as u32, got ${tensor.dtype}.`);
    if (elementCount(tensor.shape) !== size)
      throw new ShapeError(`attention: expected ${name} as [${size}], got ${shapeText(tensor.shape)}.`);
  }
  if (rows.path && (rows.path.dtype !== 'u32' || rows.path.shape.length !== 2 || rows.path.shape[0] !== q.shape[0])) {
    throw new ShapeError(
      `attention: expected path as [${q.shape[0]}, maxDepth] u32, got ${shapeText(rows.path.shape)} ${rows.path.dtype}.`,
    );
  }
  if (rows.begins) {
    if (rows.path)
      throw new ArgumentError(
        'attention: expected begins or path, got both; rows of a tree see all positions up to their depth.',
      );
    expectDType('attention: begins', rows.begins, ['u32']);
    expectShape('attention: begins', rows.begins, [q.shape[0]!]);
  }
  if (cache.positions !== undefined && window === undefined) {
    throw new ArgumentError(
      'attention: expected a window, since the cache is a ring that holds the last positions only, got none.',
    );
  }
  if (sinks) expectVectorWeight('attention: sinks, one a query head,', sinks, q.shape[1]!);
  if (window !== undefined && !(Number.isSafeInteger(window) && window >= 1)) {
    throw new ArgumentError(
      `attention: expected a window of at least 1 position, got ${window}; leave it out to see all.`,
    );
  }
  if (!Number.isFinite(scale)) throw new ArgumentError(`attention: expected a finite scale, got ${scale}.`);
  if (softcap !== undefined && !(softcap > 0 && Number.isFinite(softcap))) {
    throw new ArgumentError(`attention: expected a softcap above 0, got ${softcap}; leave it out for none.`);
  }
}

/** Which keys each row sees; tensors as in the rows of a forward pass. */
export interface AttentionRows {
  /** `[M]` u32: last logical position that the row sees; 0xffffffff for a row that sees nothing and becomes zeros. */
  readonly depths: Tensor;
  /** `[1]` u32: rows in use. */
  readonly count: Tensor;
  /** `[1]` u32: positions that lie in the slot of their own number. */
  readonly length: Tensor;
  /** `[M, maxDepth]` u32: slot of position `length + d` on the row's path; without, every position lies in the slot of its number. */
  readonly path?: Tensor;
  /** `[M]` u32: first logical position that the row sees, 0 without; not together with `path`. */
  readonly begins?: Tensor;
}

/** How scores are made. */
export interface AttentionOptions {
  /** Factor on dot products, such as `1 / sqrt(E)`. */
  readonly scale: number;
  /** Only the last `window` positions are seen, the row's own included. */
  readonly window?: number;
  /** Scores become `softcap * tanh(score / softcap)`. */
  readonly softcap?: number;
  /** `[H]` f32 learned scores that take weight but have no value. */
  readonly sinks?: Weight;
}

/**
 * Softmax attention over a cache: `y = sum_j softmax_j(scale * q . k_j) v_j` for positions `j` in `0 ..= depths[m]`. Query heads share
 * kv heads in groups of H / K. Softmax and sums in f32. For up to 64 rows a row's bits depend neither on the other rows nor on the
 * cache's capacity nor on the slots that its path names, nor on whether the cache is a ring. Rows that are all given the last position as depth
 * attend in both directions, as an encoder's do.
 *
 * @param q - `[M, H, E]` f32.
 * @param cache - Keys `[C, K, E]` and values `[C, K, Ev]`, f32 or packed f16, holding every visible position; in a ring with a window,
 *   which is what the rows look back on at most.
 * @param rows - Which positions each row sees. Rows from `count` on read nothing and give zeros.
 * @param options - Scale, window, softcap and sinks.
 * @returns `[M, H, Ev]` f32.
 * @throws {@link ShapeError}, {@link DTypeError} or {@link ArgumentError} for what does not fit.
 */
export function attention(q: Tensor, cache: KvCache, rows: AttentionRows, options: AttentionOptions): Tensor {
  check(q, cache, rows, options);
  const { scale, window, softcap, sinks } = options;
  const { depths, count, length, path, begins } = rows;
  const optional = [path, begins, sinks].filter((operand) => operand !== undefined);
  const operands = [q, cache.keys, cache.values, depths, count, length, ...optional];
  return q.graph.apply(attentionOperation, operands, {
    scale,
    tree: path !== undefined,
    begins: begins !== undefined,
    sinks: sinks !== undefined,
    ...(cache.positions === undefined ? {} : { positions: cache.positions }),
    ...(window === undefined ? {} : { window }),
    ...(softcap === undefined ? {} : { softcap }),
  })[0]!;
}
