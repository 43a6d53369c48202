import { loopBinding, loopWord, loopWords } from '@forerun/contracts';
import type { Graph, State, Tensor } from '@forerun/tensor';
import { defineKernel, defineOperation, u32Array, u32Vectors, write } from '@forerun/tensor';

const roundHeadKernel = defineKernel({
  name: 'round-head',
  bindings: {
    loopState: loopBinding,
    anchor: write('u32'),
    length: write('u32'),
    positions: write('u32'),
    nexts: write('u32'),
  },
  wgsl: ({ width }: { width: number }) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  if (lane == 0u) {
    anchor[0] = ${loopWord('anchor')};
    length[0] = ${loopWord('length')};
  }
  for (var row = lane; row < ${width}u; row += 64u) {
    positions[row] = ${loopWord('length')} + row;
    nexts[row] = ${loopWord('length')} + row + 1u;
  }
}`,
});

const roundHeadOperation = defineOperation<{ readonly width: number }>({
  name: 'round-head',
  infer: (_, { width }) => u32Vectors(1, 1, width, width),
  reference([loop], { width }) {
    const length = loop!.data[loopWords.length]!;
    return [
      u32Array([loop!.data[loopWords.anchor]!]),
      u32Array([length]),
      u32Array(Array.from({ length: width }, (_, row) => length + row)),
      u32Array(Array.from({ length: width }, (_, row) => length + row + 1)),
    ];
  },
  lower(lowering, node) {
    const [anchor, length, positions, nexts] = node.outputs.map((output) => lowering.tensor(output));
    lowering.dispatch(roundHeadKernel, {
      constants: { width: node.attributes.width },
      bindings: {
        loopState: lowering.state(node.operands[0]!),
        anchor: anchor!,
        length: length!,
        positions: positions!,
        nexts: nexts!,
      },
      workgroups: [1, 1, 1],
    });
  },
});

/** What every round starts from. */
export interface RoundHead {
  /** `[1]` u32: the last kept token. */
  readonly anchor: Tensor;
  /** `[1]` u32: tokens in the cache. */
  readonly length: Tensor;
  /** `[width]` u32: length + row. */
  readonly positions: Tensor;
  /** `[width]` u32: length + row + 1. */
  readonly nexts: Tensor;
}

/** Reads anchor and length from the loop state and lays out the positions of a chain of `width` rows. */
export function roundHead(graph: Graph, loop: State, width: number): RoundHead {
  const [anchor, length, positions, nexts] = graph.apply(roundHeadOperation, [loop], { width });
  return { anchor: anchor!, length: length!, positions: positions!, nexts: nexts! };
}
