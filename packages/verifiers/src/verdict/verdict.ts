import type { Accepted, TokenTree } from '@forerun/contracts';
import type { NdArray, Operand, Operation, Tensor } from '@forerun/tensor';
import { concat, DTypeError, noToken, ShapeError, shapeText } from '@forerun/tensor';
import { inverseDraw } from '../chance/chance.ts';
import { maxTreeRows } from '../walk/walk.ts';
import { outcomeArrays } from './outcome.ts';

/** A tree on the host. Row 0 is the anchor; a row's parent is smaller than the row. */
export interface HostTree {
  /** Token of each row in use. */
  readonly tokens: ArrayLike<number>;
  /** Parent row of each row; that of row 0 is not read. */
  readonly parents: ArrayLike<number>;
}

/** Target and draft distributions of each row on the host: `q` is what the row's children were drawn from. */
export interface HostDistributions {
  readonly p: readonly ArrayLike<number>[];
  readonly q?: readonly ArrayLike<number>[] | undefined;
}

/** What a float64 reference decides. */
export interface HostVerdict {
  /** Rows of the accepted path, the anchor first. */
  readonly path: readonly number[];
  /** Weights, not normalised, that the token behind the path is drawn from; all 0 where the target's row was broken. */
  readonly next: Float64Array;
  /** Draws of acceptance that were made. */
  readonly tests: number;
}

/** `max(a p - b q, 0)` where its sum is positive, else `p`: only rounding can leave nothing. */
export function residualOr(residual: Float64Array<ArrayBuffer>, p: ArrayLike<number>): Float64Array<ArrayBuffer> {
  return residual.some((value) => value > 0) ? residual : Float64Array.from(p);
}

/** Ratio of the probabilities of a draft; a draft that the draft model calls impossible is taken if the target knows it. */
export function acceptanceRatio(p: number, q: number): number {
  if (q > 0) return p / q;
  return p > 0 ? Infinity : 0;
}

/** A host verdict as the outputs of an operation. */
export function verdictArrays({ path, next }: HostVerdict, width: number, uniform: number): NdArray[] {
  const token = inverseDraw(next, uniform);
  return outcomeArrays(path, width, token < 0 ? noToken : token);
}

/** Rows of a matrix. */
export function matrixRows({ shape, data }: NdArray): Float64Array[] {
  const width = shape[1]!;
  return Array.from({ length: shape[0]! }, (_, row) => data.subarray(row * width, (row + 1) * width));
}

/** Tokens and parents of the rows in use, from {@link treeWords}. */
export function hostTree({ data }: NdArray): HostTree {
  const width = (data.length - 1) / 2;
  const used = Math.min(Math.max(data[2 * width]!, 1), width);
  return { tokens: data.subarray(0, used), parents: data.subarray(width, width + used) };
}

/** A tree of `width` rows as words `[2 width + 1]` u32: tokens, parents, rows in use. */
export function treeWords({ tokens, parents, count, chain }: VerdictOperands['tree'], width: number): Tensor {
  const rowBefore = Uint32Array.from({ length: width }, (_, row) => Math.max(row - 1, 0));
  return concat([tokens, (chain ? undefined : parents) ?? tokens.graph.constant(rowBefore), count], 0);
}

/** What every verifier by distributions looks at. */
export interface VerdictOperands {
  readonly tree: Pick<TokenTree, 'tokens' | 'parents' | 'count' | 'chain'>;
  /** `[M, V]` f32. */
  readonly p: Tensor;
  /** `[M, V]` f32. */
  readonly q?: Tensor | undefined;
  /** `[M]` f32: uniforms of acceptance and of the last draw. */
  readonly accept: Tensor;
  readonly residual: Tensor;
}

/**
 * Applies a verdict operation after checking what it gets. Its operands are p `[M, V]`, the tree as u32 words `[2 M + 1]` (tokens,
 * parents, rows in use), uniforms `[2 M]` (acceptance, last draw), and q `[M, V]` where there is one.
 */
export function applyVerdict<Attributes extends object>(
  name: string,
  operation: Operation<Attributes>,
  { tree, p, q, accept, residual }: VerdictOperands,
  attributes: Attributes,
): Accepted {
  const [width, vocabSize] = p.shape as [number, number];
  if (p.shape.length !== 2 || width > maxTreeRows) {
    throw new ShapeError(
      `${name}: probabilities must be [M, V] with at most ${maxTreeRows} rows, got ${shapeText(p.shape)}.`,
    );
  }
  const parents = tree.chain ? undefined : tree.parents;
  if (!tree.chain && !parents) throw new ShapeError(`${name}: a tree that is no chain must have parents.`);
  const expected = {
    distribution: [q, 'f32', [width, vocabSize]],
    tokens: [tree.tokens, 'u32', [width]],
    parents: [parents, 'u32', [width]],
    count: [tree.count, 'u32', [1]],
    accept: [accept, 'f32', [width]],
    residual: [residual, 'f32', [width]],
  } as const;
  for (const [operand, [tensor, dtype, shape]] of Object.entries(expected)) {
    if (!tensor) continue;
    if (shapeText(tensor.shape) !== shapeText(shape))
      throw new ShapeError(`${name}: ${operand} must be ${shapeText(shape)}, got ${shapeText(tensor.shape)}.`);
    if (tensor.dtype !== dtype) throw new DTypeError(`${name}: ${operand} must be ${dtype}, got ${tensor.dtype}.`);
  }
  const operands: Operand[] = [p, treeWords(tree, width), concat([accept, residual], 0)];
  if (q) operands.push(q);
  const [path, count, next] = p.graph.apply(operation, operands, attributes);
  return { path: path!, count: count!, next: next! };
}
