import type { Accepted } from '@forerun/contracts';
import type { NdArray, Tensor } from '@forerun/tensor';
import { defineOperation, vocabularyLanes } from '@forerun/tensor';
import { listChance } from '../chance/chance.ts';
import type { VerdictOperands } from '../verdict/verdict.ts';
import { boundOutcome, outcomeSpecs } from '../verdict/outcome.ts';
import { applyVerdict, hostTree, matrixRows, verdictArrays } from '../verdict/verdict.ts';
import type { DraftSource } from './multi-round.reference.ts';
import { multiRoundReference } from './multi-round.reference.ts';
import { multiRoundKernel } from './multi-round.wgsl.ts';

const multiRoundOperation = defineOperation<{ readonly source: DraftSource }>({
  name: 'multi-round-rejection',
  infer: ([p]) => outcomeSpecs((p as Tensor).shape[0]!),
  reference(operands, { source }) {
    const [p, rows, uniforms] = operands as readonly [NdArray, NdArray, NdArray];
    const q = operands[3];
    const width = p.shape[0]!;
    const verdict = multiRoundReference(
      hostTree(rows),
      { p: matrixRows(p), q: q && matrixRows(q) },
      { chance: listChance(uniforms.data), source },
    );
    return verdictArrays(verdict, width, uniforms.data[width + verdict.tests]!);
  },
  lower(lowering, { operands, outputs, attributes: { source } }) {
    const [p, rows, uniforms, q] = operands as readonly [Tensor, Tensor, Tensor, Tensor?];
    const [width, vocabSize] = p.shape as [number, number];
    lowering.dispatch(multiRoundKernel(source), {
      constants: { width, vocabSize, lanes: vocabularyLanes(lowering.device, vocabSize) },
      bindings: {
        p: lowering.tensor(p),
        ...(q ? { q: lowering.tensor(q) } : {}),
        rowWords: lowering.tensor(rows),
        uniforms: lowering.tensor(uniforms),
        work: lowering.scratch(vocabSize * 8, 'what rejections left'),
        ...boundOutcome(lowering, outputs),
      },
      workgroups: [1, 1, 1],
      bytes: vocabSize * 16,
    });
  },
});

/**
 * Judges a tree by multi-round rejection: the t-th child tried reads uniform t of `accept`, the last draw the one of `residual` whose
 * index is the number of children tried.
 *
 * @param operands.q without it children were chosen without chance, whatever `source` says
 * @throws {@link ShapeError}, {@link DTypeError} for operands that do not fit
 */
export function judgeTree(operands: VerdictOperands, source: DraftSource): Accepted {
  const { q } = operands;
  const effective = q ? source : 'certain';
  return applyVerdict(
    'judgeTree',
    multiRoundOperation,
    { ...operands, q: effective === 'certain' ? undefined : q },
    { source: effective },
  );
}
