import type { ReplayDrafter, ReplayState } from '@forerun/drafters';
import { replay } from '@forerun/drafters';
import { gatherRows } from '@forerun/tensor';
import { randomSource } from '@forerun/tensor/harness';

/** A tree of random form, and the rows of its deepest path. */
function randomTree(width: number, seed: number) {
  const random = randomSource(seed + width);
  const parents = [0];
  const depths = [0];
  for (let row = 1; row < width; row++) {
    // Of two rows the later one, so that paths become long.
    const parent = Math.max(random.integer(row), random.integer(row));
    parents.push(parent);
    depths.push(depths[parent]! + 1);
  }
  const path = new Set([0]);
  for (let row = depths.indexOf(Math.max(...depths)); row > 0; row = parents[row]!) path.add(row);
  return { parents, depths, path, depth: Math.max(...depths) };
}

/** `replay` in trees: what was recorded is one path of a tree of random form, and every other row guesses wrong. */
export function hiddenPath(seed: number): ReplayDrafter {
  const chain = replay();
  return {
    ...chain,
    name: 'hidden path',
    propose(round, state: ReplayState) {
      const { width, decoder } = round;
      const { graph } = round.length;
      const column = (values: readonly number[]) => graph.constant(Uint32Array.from(values));
      const { parents, depths, path, depth } = randomTree(width, seed);
      const right = chain.propose(round, state);
      const tokens = gatherRows(right.tokens.reshape([width, 1]), column(depths)).reshape([width]);
      const moved = tokens.add(
        column(parents.map((_, row) => (path.has(row) ? 0 : 1 + (row % (decoder.vocabSize - 1))))),
      );
      return {
        width,
        depth,
        chain: false,
        tokens: moved.less(decoder.vocabSize).select(moved, moved.sub(decoder.vocabSize)),
        parents: column(parents),
        depths: column(depths),
        count: graph.constant(Uint32Array.of(width)),
      };
    },
  };
}
