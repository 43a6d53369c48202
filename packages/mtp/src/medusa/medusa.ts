/**
 * Medusa: independent heads on the last hidden state. Head i predicts the token i + 2 behind the one whose hidden state it sees.
 *
 * Source: Cai et al. 2024, arXiv:2401.10774; names of the checkpoints of FasterDecoding/Medusa.
 */
import type { Checkpoint, Weights } from '@forerun/checkpoints';
import type { Layer } from '@forerun/layers';
import { ArgumentError, type Tensor, type Weight } from '@forerun/tensor';
import { HeadConfigError } from '../errors.ts';
import { expectFit, type HeadTarget, storedShape } from '../target.ts';
import { linear } from '../layers/stored-biases.ts';

/** Heads that each guess one token from the same hidden state. */
export interface MedusaHeads {
  /** Hidden states after the final norm. */
  readonly needs: { readonly hidden: 'after-norm' };
  /** D, width of the hidden states. */
  readonly hiddenSize: number;
  /** Number of heads. */
  readonly count: number;
  /** Every weight of its own, for `loadWeights`. */
  readonly weights: readonly Weight[];
  /** Logits `[M, V]` of head `head` for hidden rows `[M, D]`: of row t, the token t + 2 + head. Builds graph. */
  logits(hidden: Tensor, head: number): Tensor;
}

/** Where the parts of heads stand in a file. */
interface Layout {
  readonly root: (w: Weights) => Weights;
  /** The linear part of block `block` of head `head`. */
  readonly block: (w: Weights, head: number, block: number) => Weights;
  /** The projection of head `head` with `blocks` blocks. */
  readonly projection: (w: Weights, head: number, blocks: number) => Weights;
}

const numbered = {
  block: (w: Weights, head: number, block: number) => w.at(head).at(block).at('linear'),
  projection: (w: Weights, head: number, blocks: number) => w.at(head).at(blocks),
};
const named = {
  block: (w: Weights, head: number, block: number) => w.at('blocks').at(head).at('layers').at(block),
  // Heads that share one projection store it as the first.
  projection: (w: Weights, head: number) => w.at('lm_heads').at(w.at('lm_heads').has(head) ? head : 0),
};

/** The files of FasterDecoding alone and in a model's shards, and those of vLLM. */
const layouts: readonly Layout[] = [
  { root: (w) => w, ...numbered },
  { root: (w) => w.at('medusa_head'), ...numbered },
  { root: (w) => w, ...named },
  { root: (w) => w.at('medusa_heads'), ...named },
];

/**
 * Medusa heads from `medusa_lm_head.pt`, `medusa_lm_head.safetensors`, a model's own shards (`medusa_head.…`), or a file of vLLM
 * (`blocks.…`, `lm_heads.…`): `logits = head(x)` where each block is `x + silu(W x + b)`. A head without a projection uses the target's.
 *
 * How many heads and blocks there are is taken from the file, since published configurations are wrong about it.
 *
 * @throws MismatchedPartsError for another hidden size or vocabulary than the target's; HeadConfigError for a file without heads;
 *   WeightNameError for names that are missing or unknown.
 */
export function medusaHeads(checkpoint: Checkpoint, target: HeadTarget): MedusaHeads {
  const all = checkpoint.weights();
  const what = `Medusa heads of ${checkpoint.source.describe()}`;
  const layout = layouts.find(({ root, block }) => block(root(all), 0, 0).has('weight'));
  if (!layout) {
    throw new HeadConfigError(
      `${what}: expected tensors 0.0.linear.weight, medusa_head.0.0.linear.weight or blocks.0.layers.0.weight, found none. Name the file of the heads.`,
    );
  }
  const w = layout.root(all);
  const count = consecutive((head) => layout.block(w, head, 0).has('weight'));
  const heads = Array.from({ length: count }, (_, head) => medusaHead(w, { checkpoint, target, what, layout, head }));
  return {
    needs: { hidden: 'after-norm' },
    hiddenSize: target.hiddenSize,
    count,
    weights: w.finish(),
    logits(hidden, head) {
      const layer = heads[head];
      if (!layer) throw new ArgumentError(`${what}: expected a head from 0 to ${count - 1}, got ${head}.`);
      return layer(hidden);
    },
  };
}

function medusaHead(
  w: Weights,
  place: { checkpoint: Checkpoint; target: HeadTarget; what: string; layout: Layout; head: number },
): Layer {
  const { checkpoint, target, what, layout, head } = place;
  const { hiddenSize: D, vocabSize: V } = target;
  const count = consecutive((block) => layout.block(w, head, block).has('weight'));
  const blocks = Array.from({ length: count }, (_, block) => {
    const at = layout.block(w, head, block);
    expectFit(what, 'hidden size', [storedShape(checkpoint, `${at.path}.weight`)?.[1] ?? D, D]);
    return linear(at, [D, D]);
  });
  const own = layout.projection(w, head, count);
  const shape = storedShape(checkpoint, `${own.path}.weight`);
  if (shape) expectFit(what, 'a vocabulary of', [shape[0]!, V]);
  const project = shape ? linear(own, [V, D]) : target.head;
  return (hidden) => project(blocks.reduce((x, block) => x.add(block(x).silu()), hidden));
}

/** How many numbers from 0 on are there. */
function consecutive(there: (index: number) => boolean): number {
  let count = 0;
  while (there(count)) count++;
  return count;
}
