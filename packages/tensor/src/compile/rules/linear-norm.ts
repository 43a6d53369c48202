import { rowCount } from '../../graph/dtype.ts';
import type { GraphNode } from '../../graph/graph.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { Weight } from '../../graph/weight.ts';
import { fusedLinearNode, linearPlanOf } from '../../ops/linear/fused-linear.ts';
import { decodeRows } from '../../ops/linear/linear-choice.ts';
import type { RmsNormAttributes } from '../../ops/rms-norm/rms-norm.ts';
import { rmsNormOperation } from '../../ops/rms-norm/rms-norm.ts';
import { readerCounts } from '../canonicalise.ts';
import type { FusionRule } from '../fuse.ts';

/**
 * Computes a root-mean-square norm inside the matrices that read it, on the decode path. The bits of a product depend on it, so it is
 * done whenever a matrix reads a norm, whoever else reads the norm too; the norm itself goes when nobody is left.
 */
export const linearNorm: FusionRule = {
  name: 'linear-norm',
  apply(nodes, { graph, producers }) {
    const absorbed = new Set<GraphNode>();
    const rewritten = nodes.map((node) => {
      const plan = linearPlanOf(node);
      const norm = plan && producers.get(plan.x);
      if (!norm || (norm.operation as unknown) !== rmsNormOperation || rowCount(plan.x.shape) > decodeRows) return node;
      const [x, gain] = norm.operands as readonly [Tensor, Weight?];
      absorbed.add(norm);
      return fusedLinearNode({ ...plan, x, norm: { gain, ...(norm.attributes as RmsNormAttributes) } }, node);
    });
    const readers = readerCounts(graph, rewritten);
    return rewritten.filter((node) => !absorbed.has(node) || (readers.get(node.outputs[0]!) ?? 0) > 0);
  },
};
