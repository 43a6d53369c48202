import type { BufferView } from '../../compile/lowering.ts';
import type { Operand } from '../../graph/operation.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { State } from '../../graph/state.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { PathKind } from '../penalties/penalties.wgsl.ts';
import { filteredProbabilities } from '../sample/sample.reference.ts';
import type { SampleOptions } from '../sample/sample.ts';
import { checkSampling, penalisedRow } from '../sample/sample.ts';
import { sampleScanKernel, scanPartials, scanWorkgroups } from '../sample/sample.wgsl.ts';
import { unpackSampling } from '../sample/settings.ts';
import { samplingProbabilitiesKernel } from './sampling-probabilities.wgsl.ts';

interface ProbabilitiesAttributes {
  readonly path: PathKind;
  readonly greedy: boolean;
}

const probabilitiesOperation = defineOperation<ProbabilitiesAttributes>({
  name: 'sampling-probabilities',
  infer: ([logits]) => [{ shape: (logits as Tensor).shape, dtype: 'f32' }],
  reference([logits, settings, counts, tokens, parents], { greedy }) {
    const [rows, vocabSize] = logits!.shape as [number, number];
    const unpacked = unpackSampling(settings!.data);
    const data = new Float64Array(rows * vocabSize);
    for (let row = 0; row < rows; row++) {
      const z = penalisedRow(row, unpacked, { logits: logits!, counts: counts!, tokens, parents });
      const top = Math.max(...z);
      // A NaN makes the largest NaN.
      if (!Number.isFinite(top)) continue;
      if (greedy || unpacked.temperature === 0) data[row * vocabSize + z.indexOf(top)] = 1;
      else data.set(filteredProbabilities(z, unpacked), row * vocabSize);
    }
    return [{ shape: logits!.shape, dtype: 'f32', data }];
  },
  lower(lowering, { operands, attributes: { path, greedy }, outputs }) {
    const [logits, settings, counts, tokens, parents] = operands as [Tensor, State, State, Tensor?, Tensor?];
    const [rows, vocabSize] = logits.shape as [number, number];
    const shared = {
      logits: lowering.tensor(logits),
      settings: lowering.state(settings),
      penalised: lowering.scratch(rows * vocabSize * 4, 'penalised logits'),
      partial: lowering.scratch(rows * scanPartials(vocabSize) * 16, 'largest logits'),
    };
    const pathViews: Record<string, BufferView> = {
      ...(tokens && { pathTokens: lowering.tensor(tokens) }),
      ...(parents && { pathParents: lowering.tensor(parents) }),
    };
    lowering.dispatch(sampleScanKernel(path, 'plain'), {
      constants: { vocabSize, stream: 0, choice: 'greedy' },
      bindings: { ...shared, ...pathViews, counts: lowering.state(counts) },
      workgroups: [scanWorkgroups(vocabSize), rows, 1],
      bytes: rows * vocabSize * 4,
    });
    lowering.dispatch(samplingProbabilitiesKernel, {
      constants: { vocabSize, choice: greedy ? 'greedy' : 'drawn' },
      bindings: { ...shared, y: lowering.tensor(outputs[0]!) },
      workgroups: [rows, 1, 1],
      bytes: rows * vocabSize * 12,
    });
  },
});

/**
 * The distribution that `sample` draws each row's token from: `softmax(z / T)` of the penalised logits, 0 outside of what top-k,
 * top-p and min-p keep, normalised. At temperature 0, and where `greedy`, 1 at the most likely token (the lowest of equal ones).
 * A row that held NaN or +infinity, or excluded every token, is all 0. A row's bits do not depend on the rows beside it.
 *
 * @param logits `[M, V]` f32; -infinity excludes a token
 * @returns `[M, V]` f32
 * @throws {@link ShapeError}, {@link DTypeError} for operands that do not fit
 */
export function samplingProbabilities(
  logits: Tensor,
  options: Pick<SampleOptions, 'settings' | 'counts' | 'path' | 'greedy'>,
): Tensor {
  checkSampling('samplingProbabilities', logits, options);
  const { settings, counts, path, greedy = false } = options;
  const operands: Operand[] = [logits, settings, counts];
  if (path) operands.push(path.tokens);
  if (path?.parents) operands.push(path.parents);
  const kind = path ? (path.parents ? 'tree' : 'chain') : 'none';
  return logits.graph.apply(probabilitiesOperation, operands, { path: kind, greedy })[0]!;
}
