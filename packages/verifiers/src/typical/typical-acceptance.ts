import type { Accepted, TokenTree, Verifier } from '@forerun/contracts';
import type { Tensor } from '@forerun/tensor';
import { ArgumentError, defineOperation, vocabularyLanes } from '@forerun/tensor';
import { draw } from '../draw/draw.ts';
import { roundUniforms, targetProbabilities } from '../draw/round-draws.ts';
import { targetTokens } from '../sample-and-match/targets.ts';
import { boundOutcome, outcomeArrays, outcomeSpecs } from '../verdict/outcome.ts';
import { hostTree, matrixRows, treeWords } from '../verdict/verdict.ts';
import type { TypicalThreshold } from './typical.reference.ts';
import { typicalDefaults, typicalPath, typicalRow } from './typical.reference.ts';
import { typicalPathKernel, typicalThresholdsKernel } from './typical.wgsl.ts';

const thresholdsOperation = defineOperation<Required<TypicalThreshold>>({
  name: 'typical-thresholds',
  infer: ([p]) => [{ shape: [(p as Tensor).shape[0]!], dtype: 'f32' }],
  reference([p], threshold) {
    const data = Float64Array.from(matrixRows(p!), (row) => typicalRow(row, threshold).threshold);
    return [{ shape: [data.length], dtype: 'f32', data }];
  },
  lower(lowering, { operands, outputs, attributes }) {
    const p = operands[0] as Tensor;
    const [rows, vocabSize] = p.shape as [number, number];
    lowering.dispatch(typicalThresholdsKernel, {
      constants: { vocabSize, lanes: vocabularyLanes(lowering.device, vocabSize) },
      uniforms: attributes,
      bindings: { p: lowering.tensor(p), y: lowering.tensor(outputs[0]!) },
      workgroups: [rows, 1, 1],
      bytes: rows * vocabSize * 4,
    });
  },
});

const pathOperation = defineOperation({
  name: 'typical-path',
  infer: ([p]) => outcomeSpecs((p as Tensor).shape[0]!),
  reference([p, rows, thresholds, targets]) {
    const path = typicalPath(hostTree(rows!), matrixRows(p!), thresholds!.data);
    return outcomeArrays(path, p!.shape[0]!, targets!.data[path.at(-1)!]!);
  },
  lower(lowering, { operands, outputs }) {
    const [p, rows, thresholds, targets] = operands as readonly [Tensor, Tensor, Tensor, Tensor];
    const [width, vocabSize] = p.shape as [number, number];
    lowering.dispatch(typicalPathKernel, {
      constants: { width, vocabSize },
      bindings: {
        p: lowering.tensor(p),
        rowWords: lowering.tensor(rows),
        thresholds: lowering.tensor(thresholds),
        targets: lowering.tensor(targets),
        ...boundOutcome(lowering, outputs),
      },
      workgroups: [1, 1, 1],
    });
  },
});

/**
 * Thresholds of typical acceptance, `min(epsilon, delta e^-H)` with `H = -sum p ln(p + 1e-5)`.
 *
 * @param p `[M, V]` f32
 * @returns `[M]` f32
 */
export function typicalThresholds(p: Tensor, threshold: TypicalThreshold = {}): Tensor {
  const { epsilon = typicalDefaults.epsilon, delta = typicalDefaults.delta } = threshold;
  return p.graph.apply(thresholdsOperation, [p], { epsilon, delta })[0]!;
}

/** How typical acceptance judges, and what follows an accepted path. */
export interface TypicalOptions extends TypicalThreshold {
  /** The target's most likely token (default), or one drawn from those that are typical themselves. */
  readonly next?: 'most-likely' | 'drawn';
}

/**
 * Typical acceptance: keeps the longest path on which every token is more likely to the target than `min(epsilon, delta e^-H)`. LOSSY: the
 * output has neither plain decoding's tokens nor its distribution, whatever the settings say; at temperature 0 alone it is greedy
 * decoding's. Statistics carry its name and `exactness: 'lossy'`.
 *
 * Source: Cai et al. 2024 (Medusa), `evaluate_posterior`; there epsilon is called the posterior threshold and delta alpha.
 * @throws {@link ArgumentError} for thresholds that are not positive
 */
export function typicalAcceptance(options: TypicalOptions = {}): Verifier & { readonly exactness: 'lossy' } {
  const { epsilon = typicalDefaults.epsilon, delta = typicalDefaults.delta, next = 'most-likely' } = options;
  if (!(epsilon > 0 && delta > 0)) {
    throw new ArgumentError(`typicalAcceptance: expected positive epsilon and delta, got ${epsilon} and ${delta}.`);
  }
  return {
    name: 'typical-acceptance (lossy)',
    needs: {},
    exactness: 'lossy',
    verify(tree, logits, round) {
      const p = targetProbabilities(tree, logits, round);
      const thresholds = typicalThresholds(p, { epsilon, delta });
      const likely = targetTokens(tree, logits, { round, greedy: true });
      if (next === 'most-likely') return judgeTypical(tree, { p, thresholds, next: likely });
      const typical = p.less(thresholds.reshape([-1, 1])).select(0, p);
      const drawn = draw(typical, roundUniforms(round, tree.width, 'residual'));
      return judgeTypical(tree, { p, thresholds, next: drawn });
    },
  };
}

/**
 * The longest path of a tree on which every token is more likely than its parent's threshold; of equally long ones the likeliest.
 *
 * `p`: `[M, V]` f32
 * `thresholds`: `[M]` f32
 * `next`: `[M]` u32: the token that follows each row, should the path end there
 */
export function judgeTypical(
  tree: Pick<TokenTree, 'tokens' | 'parents' | 'count' | 'chain'>,
  { p, thresholds, next }: { readonly p: Tensor; readonly thresholds: Tensor; readonly next: Tensor },
): Accepted {
  const rows = treeWords(tree, p.shape[0]!);
  const [path, count, token] = p.graph.apply(pathOperation, [p, rows, thresholds, next], {});
  return { path: path!, count: count!, next: token! };
}
