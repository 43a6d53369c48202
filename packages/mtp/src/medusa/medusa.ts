/**
 * Medusa: independent heads on the last hidden state. Head i predicts the token i + 2 behind the one whose hidden state it sees.
 *
 * Source: Cai et al. 2024, arXiv:2401.10774; names of the checkpoints of FasterDecoding/Medusa.
 */
import type { Checkpoint, Weights } from '@forerun/checkpoints';
import { ArgumentError, type Tensor, type Weight } from '@forerun/tensor';
import { HeadConfigError } from '../errors.ts';
import { linear, type RowLayer } from '../layers/layer.ts';
import { expectFit, type HeadTarget, storedShape } from '../target.ts';

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

/**
 * Medusa heads from `medusa_lm_head.pt`, `medusa_lm_head.safetensors`, or a model's own shards (`medusa_head.…`):
 * `logits = head(x)` where each block is `x + silu(W x + b)`. A head without a projection of its own uses the target's.
 *
 * How many heads and blocks there are is taken from the file, since published configurations are wrong about it.
 *
 * @throws MismatchedPartsError for another hidden size or vocabulary than the target's; HeadConfigError for a file without heads;
 *   WeightNameError for names that are missing or unknown.
 */
export function medusaHeads(checkpoint: Checkpoint, target: HeadTarget): MedusaHeads {
  const all = checkpoint.weights();
  const inModel = all.has('medusa_head');
  const w = inModel ? all.at('medusa_head') : all;
  const what = `Medusa heads of ${checkpoint.source.describe()}`;
  const count = consecutive((head) => w.at(head).at(0).has('linear'));
  if (count === 0) {
    throw new HeadConfigError(
      `${what}: expected tensors 0.0.linear.weight, … or medusa_head.0.0.linear.weight, …, found none. Name the file of the heads.`,
    );
  }
  const heads = Array.from({ length: count }, (_, head) => medusaHead(w.at(head), { checkpoint, target, what }));
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
  { checkpoint, target, what }: { checkpoint: Checkpoint; target: HeadTarget; what: string },
): RowLayer {
  const { hiddenSize: D, vocabSize: V } = target;
  const blocks = Array.from({ length: consecutive((block) => w.at(block).has('linear')) }, (_, block) => {
    const at = w.at(block).at('linear');
    const shape = storedShape(checkpoint, `${at.path}.weight`);
    if (shape) expectFit(what, 'hidden size', [shape[1]!, D]);
    return linear(at, [D, D]);
  });
  const own = w.at(blocks.length);
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
