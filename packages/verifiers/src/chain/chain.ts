import type { Accepted } from '@forerun/contracts';
import type { NdArray, Tensor } from '@forerun/tensor';
import { defineOperation, ShapeError, vocabularyLanes } from '@forerun/tensor';
import { listChance } from '../chance/chance.ts';
import type { VerdictOperands } from '../verdict/verdict.ts';
import { boundOutcome, outcomeSpecs } from '../verdict/outcome.ts';
import { applyVerdict, hostTree, matrixRows, verdictArrays } from '../verdict/verdict.ts';
import type { ChainRule } from './chain.reference.ts';
import { blockReference, rejectionReference } from './chain.reference.ts';
import type { DraftKind } from './chain.wgsl.ts';
import { chainThresholdsKernel, chainVerdictKernel } from './chain.wgsl.ts';

interface ChainAttributes {
  readonly rule: ChainRule;
  readonly ensembleWeight: number;
}

const chainOperation = defineOperation<ChainAttributes>({
  name: 'chain-verdict',
  infer: ([p]) => outcomeSpecs((p as Tensor).shape[0]!),
  reference(operands, { rule, ensembleWeight }) {
    const [p, rows, uniforms] = operands as readonly [NdArray, NdArray, NdArray];
    const q = operands[3];
    const width = p.shape[0]!;
    const tree = hostTree(rows);
    const distributions = { p: matrixRows(p), q: q && matrixRows(q) };
    const chance = listChance(uniforms.data);
    const verdict =
      rule === 'block'
        ? blockReference(tree, distributions, chance)
        : rejectionReference(tree, distributions, chance, ensembleWeight);
    return verdictArrays(verdict, width, uniforms.data[width + tree.tokens.length - 1]!);
  },
  lower(lowering, { operands, outputs, attributes: { rule, ensembleWeight } }) {
    const [p, rows, uniforms, q] = operands as readonly [Tensor, Tensor, Tensor, Tensor?];
    const [width, vocabSize] = p.shape as [number, number];
    const kind: DraftKind = q ? 'drawn' : 'certain';
    const constants = { width, vocabSize, lanes: vocabularyLanes(lowering.device, vocabSize), ensembleWeight };
    const shared = {
      p: lowering.tensor(p),
      ...(q ? { q: lowering.tensor(q) } : {}),
      rowWords: lowering.tensor(rows),
      scalars: lowering.scratch(width * 8, 'acceptance by row'),
    };
    lowering.dispatch(chainThresholdsKernel(rule, kind), {
      constants,
      bindings: shared,
      workgroups: [width, 1, 1],
      bytes: width * vocabSize * 8,
    });
    lowering.dispatch(chainVerdictKernel(rule, kind), {
      constants,
      bindings: {
        ...shared,
        uniforms: lowering.tensor(uniforms),
        ...boundOutcome(lowering, outputs),
      },
      workgroups: [1, 1, 1],
      bytes: vocabSize * 16,
    });
  },
});

/**
 * Judges a chain by the distributions of target and draft, draft by draft or as a block. Draft i reads uniform i - 1 of `accept`; the
 * token behind the accepted ones reads the last row's of `residual`.
 *
 * @param operands.q without it drafts were certain
 * `ensembleWeight`: w in the test `u <= 1 - w + w p/q`; 1 (exact) by default
 * @throws {@link ShapeError}, {@link DTypeError} for operands that do not fit, and for trees
 */
export function judgeChain(
  operands: VerdictOperands,
  { rule, ensembleWeight = 1 }: { readonly rule: ChainRule; readonly ensembleWeight?: number },
): Accepted {
  if (!operands.tree.chain) throw new ShapeError('judgeChain: expected a chain, got a tree with parents.');
  return applyVerdict('judgeChain', chainOperation, operands, { rule, ensembleWeight });
}
