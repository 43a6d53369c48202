import type { Round, TokenTree } from '@forerun/contracts';
import type { FeatureHead } from '@forerun/mtp';
import type { Tensor } from '@forerun/tensor';
import { chain, choose } from './chain.ts';
import type { FeatureMemory } from './feature-memory.ts';

/** A chain of at most `depth` tokens from a head that goes on from the target's last feature, and then from its own output. */
export function featureChain(
  round: Round,
  { head, memory, depth }: { readonly head: FeatureHead; readonly memory: FeatureMemory; readonly depth: number },
): TokenTree {
  const { graph } = round.length;
  const ready = memory.ready(round.length);
  const drafts: Tensor[] = [];
  let [hidden, recycled] = [memory.value(graph, 'hidden'), memory.value(graph, 'recycled')];
  const most = Math.min(round.width - 1, depth);
  for (let step = 1; step <= most; step++) {
    const draft = choose(round, head.spread(head.logits(hidden)), step);
    drafts.push(draft);
    if (step === most) break;
    const row = memory.stepRow(round.length, draft, { step: step - 1, count: ready });
    ({ hidden, recycled } = head.forward(row, recycled, memory.cache!));
  }
  return chain(round, drafts, ready);
}
