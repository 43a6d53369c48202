import type { Accepted, Verifier } from '@forerun/contracts';
import type { Tensor } from '@forerun/tensor';
import { defineOperation, vocabularyLanes } from '@forerun/tensor';
import { judgeChain } from '../chain/chain.ts';
import { listChance } from '../chance/chance.ts';
import { draftProbabilities, roundUniforms, targetProbabilities } from '../draw/round-draws.ts';
import type { VerdictOperands } from '../verdict/verdict.ts';
import { boundOutcome, outcomeSpecs } from '../verdict/outcome.ts';
import { applyVerdict, hostTree, matrixRows, verdictArrays } from '../verdict/verdict.ts';
import { traversalReference } from './traversal.reference.ts';
import { traversalKernel } from './traversal.wgsl.ts';

const traversalOperation = defineOperation<{ readonly depth: number }>({
  name: 'traversal-verification',
  infer: ([p]) => outcomeSpecs((p as Tensor).shape[0]!),
  reference([p, rows, uniforms, q]) {
    const width = p!.shape[0]!;
    const verdict = traversalReference(
      hostTree(rows!),
      { p: matrixRows(p!), q: matrixRows(q!) },
      listChance(uniforms!.data),
    );
    return verdictArrays(verdict, width, uniforms!.data[width + verdict.tests]!);
  },
  lower(lowering, { operands, outputs, attributes: { depth } }) {
    const [p, rows, uniforms, q] = operands as readonly [Tensor, Tensor, Tensor, Tensor];
    const [width, vocabSize] = p.shape as [number, number];
    const levels = Math.min(depth, width - 1) + 1;
    lowering.dispatch(traversalKernel, {
      constants: { width, vocabSize, lanes: vocabularyLanes(lowering.device, vocabSize), levels },
      bindings: {
        p: lowering.tensor(p),
        q: lowering.tensor(q),
        rowWords: lowering.tensor(rows),
        uniforms: lowering.tensor(uniforms),
        work: lowering.scratch(levels * vocabSize * 8, 'what removed leaves left'),
        ...boundOutcome(lowering, outputs),
      },
      workgroups: [1, 1, 1],
      bytes: vocabSize * 16,
    });
  },
});

/**
 * Judges a tree whose nodes' children were drawn without replacement from `q`, by traversal verification. The t-th leaf looked at
 * reads uniform t of `accept`, the last draw the one of `residual` whose index is the number of leaves looked at.
 *
 * @param depth largest depth of a row
 * @throws {@link ShapeError}, {@link DTypeError} for operands that do not fit
 */
export function judgeTraversal(operands: VerdictOperands & { readonly q: Tensor }, depth: number): Accepted {
  return applyVerdict('judgeTraversal', traversalOperation, operands, { depth });
}

/**
 * Traversal verification: judges a tree from its leaves to its root, so that a path may be accepted as a whole where draft by draft it
 * would not be. The output has the target's distribution. A node's children have to be drawn without replacement from the
 * distribution that comes with the tree; on a chain the rule is block verification's.
 *
 * Source: Weng et al. 2025 (2505.12398), with the update of a parent's weight `S / (S + 1 - a)`, which keeps the distribution.
 */
export function traversalVerification(): Verifier {
  return {
    name: 'traversal-verification',
    needs: { distribution: true },
    exactness: 'distribution',
    verify(tree, logits, round) {
      const q = draftProbabilities('traversalVerification', tree);
      const operands = {
        tree,
        p: targetProbabilities(tree, logits, round),
        accept: roundUniforms(round, tree.width, 'accept'),
        residual: roundUniforms(round, tree.width, 'residual'),
      };
      return q ? judgeTraversal({ ...operands, q }, tree.depth) : judgeChain(operands, { rule: 'block' });
    },
  };
}
