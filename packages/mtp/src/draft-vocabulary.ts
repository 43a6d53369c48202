import type { Checkpoint } from '@forerun/checkpoints';
import { MismatchedPartsError } from '@forerun/contracts';
import { concat, gather, type Tensor } from '@forerun/tensor';
import { HeadConfigError } from './errors.ts';

/** How a head's own vocabulary lies in the target's. */
export interface DraftVocabulary {
  readonly size: number;
  tokens(own: Tensor): Tensor;
  spread(logits: Tensor): Tensor;
}

/** Below every logit, and finite, so that no arithmetic on it makes a NaN. */
const unknownLogit = -3e38;

/** The target's own vocabulary. */
export function wholeVocabulary(size: number): DraftVocabulary {
  return { size, tokens: (own) => own, spread: (logits) => logits };
}

/**
 * A vocabulary of `size` tokens by the checkpoint's `d2t`: the target's token of entry i is `i + d2t[i]`.
 *
 * @param sizes.declared - The size that the configuration names, where it does.
 * @throws HeadConfigError for a table of another form or size; MismatchedPartsError for a token outside of the target's vocabulary, and for
 *   a mask `t2d` over a vocabulary of another size.
 */
export async function mappedVocabulary(
  checkpoint: Checkpoint,
  sizes: { readonly own: number; readonly target: number; readonly declared?: number | undefined },
): Promise<DraftVocabulary> {
  const where = checkpoint.source.describe();
  const { own: rows, declared = rows } = sizes;
  if (declared !== rows) {
    throw new HeadConfigError(
      `${where}: draft_vocab_size is ${declared}, and lm_head has ${rows} rows. The configuration is of another head; take the one that came with these weights.`,
    );
  }
  const mask = checkpoint.tensors.get('t2d');
  if (mask && mask.shape.join() !== String(sizes.target)) {
    throw new MismatchedPartsError(
      `${where}: t2d is of a vocabulary of ${mask.shape.join(' x ')} tokens, and the target's has ${sizes.target}. The head was made for another target.`,
    );
  }
  const stored = checkpoint.tensors.get('d2t');
  if (!stored || (stored.dtype !== 'I64' && stored.dtype !== 'I32') || stored.shape.join() !== String(sizes.own)) {
    throw new HeadConfigError(
      `${where}: expected d2t as I64 [${sizes.own}], one entry for each row of lm_head; got ${stored ? `${stored.dtype} [${stored.shape.join(', ')}]` : 'nothing'}.`,
    );
  }
  const buffer = (await checkpoint.source.read(stored.file, stored.begin, stored.end)).slice().buffer;
  const offsets = stored.dtype === 'I64' ? [...new BigInt64Array(buffer)].map(Number) : [...new Int32Array(buffer)];
  const targets = Uint32Array.from(offsets, (offset, own) => {
    const token = own + offset;
    if (token >= 0 && token < sizes.target) return token;
    throw new MismatchedPartsError(
      `${where}: d2t maps draft token ${own} to ${token}, and the target's vocabulary has ${sizes.target} tokens.`,
    );
  });
  const owns = new Uint32Array(sizes.target).fill(sizes.own);
  targets.forEach((token, own) => (owns[token] = own));
  return {
    size: sizes.own,
    tokens: (own) => gather(own.graph.constant(targets), own),
    spread(logits) {
      const { graph } = logits;
      const M = logits.shape[0]!;
      const unknown = graph.constant(new Float32Array(M).fill(unknownLogit), [M, 1]);
      const starts = graph.constant(
        Uint32Array.from({ length: M }, (_, row) => row * (sizes.own + 1)),
        [M, 1],
      );
      const index = graph.constant(owns, [1, sizes.target]).add(starts);
      return gather(concat([logits, unknown], 1).reshape([M * (sizes.own + 1)]), index);
    },
  };
}
