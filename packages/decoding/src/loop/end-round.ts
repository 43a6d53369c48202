import { loopWords } from '@forerun/contracts';
import type { Graph, State } from '@forerun/tensor';
import { defineKernel, defineOperation, readWrite } from '@forerun/tensor';

const endRoundKernel = defineKernel({
  name: 'end-round',
  bindings: { words: readWrite('u32') },
  wgsl: () => /* wgsl */ `
@compute @workgroup_size(1)
fn main() { words[${loopWords.stop}] = min(words[${loopWords.reason}], 1u); }`,
});

const endRoundOperation = defineOperation<object>({
  name: 'end-round',
  writes: [0],
  infer: () => [],
  reference([loop]) {
    loop!.data[loopWords.stop] = Math.min(loop!.data[loopWords.reason]!, 1);
    return [];
  },
  lower(lowering, node) {
    lowering.dispatch(endRoundKernel, {
      constants: {},
      bindings: { words: lowering.state(node.operands[0]!) },
      workgroups: [1, 1, 1],
    });
  },
});

/** Sets `stop` where the round found a reason to; trace it behind everything that a run's last round still has to do. */
export function endRound(graph: Graph, loop: State): void {
  graph.apply(endRoundOperation, [loop], {});
}
