/**
 * A node of a tree has the bits of sequential decoding, in its logits and in what is left in the cache once its path is kept, however
 * the tree is shaped and numbered.
 */
import { folderSource, loadWeights, openCheckpoint } from '@forerun/checkpoints';
import type { DecoderState, Rows } from '@forerun/contracts';
import { leafPaths, medusaChoices, staticTree, type TreeShape } from '@forerun/drafters';
import { loadModel } from '@forerun/models';
import { Commands, compile, type Graph, StateBuffers, trace, WeightStore, WeightUpload } from '@forerun/tensor';
import { randomSource, testDevice } from '@forerun/tensor/harness';
import { chainRows } from 'forerun/check';
import { expect, test } from 'vitest';
import { goldenFolder, promptOf } from '../loop/golden-llama.ts';

const device = await testDevice();
const checkpoint = await openCheckpoint(folderSource(goldenFolder('llama')), { weights: 'f32' });
const { decoder, weights } = await loadModel(checkpoint);
const store = new WeightStore(device);
const prompt = promptOf(11);

/** Runs pieces of graph one after the other over a fresh cache, and gives its bits afterwards. */
async function overCache(state: DecoderState, bodies: readonly ((graph: Graph) => void)[]) {
  const buffers = new StateBuffers(device, state.states);
  const outputs: Float32Array[] = [];
  for (const body of bodies) {
    const program = await compile(trace(body), { device, name: 'bits', weights: store });
    const wanted = store.allocate();
    if (wanted.length > 0) {
      const needed = new Set(wanted);
      await loadWeights(
        checkpoint,
        weights.filter((weight) => needed.has(weight)),
        new WeightUpload(store),
      );
    }
    const commands = new Commands(device).run(program, { states: buffers, bound: 96 });
    const read = commands.read(program, 'logits');
    commands.submit();
    outputs.push((await read) as Float32Array);
    program.destroy();
  }
  const cache = await Promise.all(state.states.map((one) => buffers.read(one)));
  buffers.destroy();
  return { outputs, cache };
}

const pass = (graph: Graph, rows: Rows, state: DecoderState) => {
  graph.output('logits', decoder.head(decoder.norm(decoder.forward(rows, state).hidden)));
};

/** Rows of a tree behind the prompt. */
function treeRowsOf(graph: Graph, { width, depth, parents, depths }: TreeShape, tokens: readonly number[]): Rows {
  const column = (value: (row: number) => number) =>
    graph.constant(Uint32Array.from({ length: width }, (_, row) => value(row)));
  const path = new Uint32Array(width * (depth + 1)).fill(prompt.length);
  for (let row = 0; row < width; row++) {
    for (let at = row; ; at = parents[at]!) {
      path[row * (depth + 1) + depths[at]!] = prompt.length + at;
      if (at === 0) break;
    }
  }
  const index = column((row) => prompt.length + depths[row]!);
  return {
    inputs: column((row) => tokens[row]!),
    positions: index,
    depths: index,
    slots: column((row) => prompt.length + row),
    spans: index.add(1),
    count: graph.constant(Uint32Array.of(width)),
    length: graph.constant(Uint32Array.of(prompt.length)),
    path: graph.constant(path, [width, depth + 1]),
  };
}

/** A tree in which each row hangs under any row before it. */
function randomShape(width: number, seed: number): TreeShape {
  const random = randomSource(seed);
  const paths: number[][] = [[]];
  while (paths.length < width) {
    const parent = paths[random.integer(paths.length)]!;
    const children = paths.filter(
      (path) => path.length === parent.length + 1 && parent.every((rank, depth) => rank === path[depth]),
    );
    paths.push([...parent, children.length]);
  }
  return staticTree(paths.slice(1));
}

const cases = [
  ['bush', staticTree([[0], [1], [2], [0, 0], [0, 1], [2, 0], [2, 0, 0], [2, 0, 1]]), 'f32'],
  ['medusa', staticTree(medusaChoices('mc_sim_7b_63')), 'f32'],
  ['random', randomShape(13, 5), 'f16'],
  ['random', randomShape(40, 6), 'f32'],
] as const;

test.each(cases)('%s: logits of nodes, and the cache after a path is kept', async (_, shape, cache) => {
  const state = decoder.state(96, { rollbackTokens: 64, cache });
  const random = randomSource(23);
  const tokens = Array.from({ length: shape.width }, () => random.integer(decoder.vocabSize));
  const leaves = leafPaths(shape);
  // The deepest leaf, one whose path is no prefix of the rows, and the anchor alone.
  const paths = [leaves[0]!, leaves.find((path) => path[1] !== 1)!, [0]];
  const prefill = (graph: Graph) => pass(graph, chainRows(graph, prompt, 0), state);

  for (const path of paths) {
    const tree = await overCache(state, [
      prefill,
      (graph) => {
        pass(graph, treeRowsOf(graph, shape, tokens), state);
        const kept = Uint32Array.from({ length: shape.width }, (_, i) => path[i] ?? 0);
        state.commit({
          path: graph.constant(kept),
          count: graph.constant(Uint32Array.of(path.length)),
          length: graph.constant(Uint32Array.of(prompt.length)),
          tree: true,
        });
      },
    ]);
    const sequential = await overCache(state, [
      prefill,
      ...path.map(
        (row, depth) => (graph: Graph) => pass(graph, chainRows(graph, [tokens[row]!], prompt.length + depth), state),
      ),
    ]);
    const bits = (values: Float32Array | Uint32Array | Int32Array, end = values.length) =>
      new Uint32Array(values.buffer, values.byteOffset, end);
    path.forEach((row, depth) => {
      const own = tree.outputs[1]!.slice(row * decoder.vocabSize, (row + 1) * decoder.vocabSize);
      expect(bits(own), `logits of row ${row}`).toEqual(bits(sequential.outputs[depth + 1]!));
    });
    const kept = prompt.length + path.length;
    state.states.forEach((one, index) => {
      const end = kept * one.shape.slice(1).reduce((a, b) => a * b, 1);
      expect(bits(tree.cache[index]!, end), `${one.name} after ${path.join(' ')}`).toEqual(
        bits(sequential.cache[index]!, end),
      );
    });
  }
});
