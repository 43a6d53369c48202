import { loopBinding, loopWord, loopWords } from '@forerun/contracts';
import type { Graph, State, Tensor } from '@forerun/tensor';
import { defineKernel, defineOperation, read, readWrite, u32Array, u32Vectors, write } from '@forerun/tensor';

const prefillRowsKernel = defineKernel({
  name: 'prefill-rows',
  bindings: {
    loopState: loopBinding,
    history: read('u32'),
    tokens: write('u32'),
    positions: write('u32'),
    spans: write('u32'),
    count: write('u32'),
    length: write('u32'),
  },
  wgsl: ({ chunk, capacity }: { chunk: number; capacity: number }) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let begin = ${loopWord('length')};
  let end = ${loopWord('prefillEnd')};
  if (lane == 0u) {
    count[0] = min(end - min(begin, end), ${chunk}u);
    length[0] = begin;
  }
  for (var row = lane; row < ${chunk}u; row += 64u) {
    positions[row] = begin + row;
    spans[row] = end + 1u;
    tokens[row] = history[min(begin + row, ${capacity - 1}u)];
  }
}`,
});

const prefillRowsOperation = defineOperation<{ readonly chunk: number }>({
  name: 'prefill-rows',
  infer: (_, { chunk }) => u32Vectors(chunk, chunk, chunk, 1, 1),
  reference([loop, history], { chunk }) {
    const begin = loop!.data[loopWords.length]!;
    const end = loop!.data[loopWords.prefillEnd]!;
    const rows = Array.from({ length: chunk }, (_, row) => begin + row);
    return [
      u32Array(rows.map((at) => history!.data[Math.min(at, history!.data.length - 1)]!)),
      u32Array(rows),
      u32Array(rows.map(() => end + 1)),
      u32Array([Math.min(Math.max(end - begin, 0), chunk)]),
      u32Array([begin]),
    ];
  },
  lower(lowering, node) {
    const [loop, history] = node.operands as readonly [State, State];
    const [tokens, positions, spans, count, length] = node.outputs.map((output) => lowering.tensor(output));
    lowering.dispatch(prefillRowsKernel, {
      constants: { chunk: node.attributes.chunk, capacity: history.shape[0]! },
      bindings: {
        loopState: lowering.state(loop),
        history: lowering.state(history),
        tokens: tokens!,
        positions: positions!,
        spans: spans!,
        count: count!,
        length: length!,
      },
      workgroups: [1, 1, 1],
    });
  },
});

/** The next stretch of the prompt as rows. */
export interface PrefillRows {
  /** `[chunk]` u32. */
  readonly tokens: Tensor;
  /** `[chunk]` u32: positions, logical indexes and slots at once. */
  readonly positions: Tensor;
  /** `[chunk]` u32: length of the whole prompt. */
  readonly spans: Tensor;
  /** `[1]` u32: rows that are left of the prompt, at most `chunk`. */
  readonly count: Tensor;
  /** `[1]` u32: tokens in the cache. */
  readonly length: Tensor;
}

/** Takes the next `chunk` tokens of the prompt from the history; the tail is padding. */
export function prefillRows(graph: Graph, states: { loop: State; history: State }, chunk: number): PrefillRows {
  const [tokens, positions, spans, count, length] = graph.apply(prefillRowsOperation, [states.loop, states.history], {
    chunk,
  });
  return { tokens: tokens!, positions: positions!, spans: spans!, count: count!, length: length! };
}

const advanceKernel = defineKernel({
  name: 'advance',
  bindings: { count: read('u32'), words: readWrite('u32') },
  wgsl: () => /* wgsl */ `
@compute @workgroup_size(1)
fn main() { words[${loopWords.length}] += count[0]; }`,
});

const advanceOperation = defineOperation<object>({
  name: 'advance',
  writes: [1],
  infer: () => [],
  reference([count, loop]) {
    loop!.data[loopWords.length]! += count!.data[0]!;
    return [];
  },
  lower(lowering, node) {
    lowering.dispatch(advanceKernel, {
      constants: {},
      bindings: { count: lowering.tensor(node.operands[0]!), words: lowering.state(node.operands[1]!) },
      workgroups: [1, 1, 1],
    });
  },
});

/** Counts `count` (`[1]` u32) prefilled tokens as cached. */
export function advance(loop: State, count: Tensor): void {
  count.graph.apply(advanceOperation, [count, loop], {});
}
