/**
 * Hydra: heads that each see the last hidden state and the tokens guessed before them. With a prefix layer (Hydra++) the hidden states
 * first pass one transformer layer with a cache of its own.
 *
 * Source: Ankner et al. 2024, arXiv:2402.05109; names of the checkpoints of zankner/Hydra.
 */
import { softmaxAttention, type AttentionState } from '@forerun/attention';
import type { Checkpoint, ConfigJson, Weights } from '@forerun/checkpoints';
import type { DecoderState, DecoderStateOptions, Rows } from '@forerun/contracts';
import { rmsNorm } from '@forerun/layers';
import { ArgumentError, concat, type Tensor, type Weight } from '@forerun/tensor';
import { headFields } from '../config/head-fields.ts';
import { HeadConfigError } from '../errors.ts';
import { cachedHeads, layerShape } from '../layers/layer-shape.ts';
import { llamaBlock } from '../layers/llama-block.ts';
import { linear } from '../layers/stored-biases.ts';
import { expectFit, type HeadTarget, storedShape } from '../target.ts';

/** The layer that hidden states pass before the heads. */
export interface HydraPrefix {
  /** Longest context that it was made for. */
  readonly maxPositions: number;
  /** Declares its cache of one conversation. */
  state(capacityTokens: number, options: DecoderStateOptions): DecoderState;
  /** Rows `[M, D]` that the heads see, of the target's hidden rows `[M, D]`; appends to the cache. Builds graph. */
  forward(rows: Rows, hidden: Tensor, state: DecoderState): Tensor;
}

/** Heads that each guess one token, from a hidden state and the tokens up to it. */
export interface HydraHeads {
  /** Hidden states after the final norm. */
  readonly needs: { readonly hidden: 'after-norm' };
  /** D, width of the hidden states. */
  readonly hiddenSize: number;
  /** Number of heads. */
  readonly count: number;
  /** Every weight of its own, for `loadWeights`. */
  readonly weights: readonly Weight[];
  /** Present in Hydra++. */
  readonly prefix?: HydraPrefix;
  /**
   * Logits `[M, V]` of head `following.length - 1`, for the token behind the last of `following`. Builds graph.
   *
   * @param hidden - `[M, D]`: of row t, the target's hidden state, or what the prefix made of it.
   * @param following - `[M]` u32 each: tokens t + 1, t + 2, ….
   */
  logits(hidden: Tensor, following: readonly Tensor[]): Tensor;
}

/** How Hydra heads are put together. */
export interface HydraOptions {
  /** Configuration of the target, whose sizes the prefix layer has; its own file does not say them. */
  readonly targetConfig?: ConfigJson;
}

/** Copies of the target's embedding, and frequencies that older files hold; neither is read. */
const copies = ['input_embed_fn.weight', 'prefix_embeding_layer.embed_tokens.weight', /\.rotary_emb\.inv_freq$/];

/**
 * Hydra heads from `hydra_lm_head.safetensors` or `.pt`. The first block of a head narrows its input,
 * `R x + silu(W x)`, further ones are `x + silu(W x)`. Heads whose first block has no R see the hidden state alone (`grounded_heads:
 * false`).
 *
 * @throws MismatchedPartsError for another hidden size or vocabulary than the target's; HeadConfigError for a file without heads, or a
 *   prefix layer without `targetConfig`; WeightNameError for names that are missing or unknown.
 */
export function hydraHeads(checkpoint: Checkpoint, target: HeadTarget, options: HydraOptions = {}): HydraHeads {
  const { hiddenSize: D, vocabSize: V } = target;
  const what = `Hydra heads of ${checkpoint.source.describe()}`;
  const w = checkpoint.weights();
  const heads: HydraHeads['logits'][] = [];
  for (let head = 0; w.at('hydra_mlp').has(head); head++) {
    const [narrow, ...blocks] = numbered(checkpoint, w.at('hydra_mlp').at(head), '.linear.weight');
    const projection = numbered(checkpoint, w.at('hydra_lm_head').at(head), '.weight')[0];
    if (!narrow) throw new HeadConfigError(`${what}: head ${head} has no block hydra_mlp.${head}.0.linear.`);
    const grounded = narrow.has('res_connection');
    const inputs = grounded ? (head + 2) * D : D;
    expectFit(what, 'a hidden size of', [storedShape(checkpoint, `${narrow.path}.linear.weight`)?.[0] ?? D, D]);
    const project = projection ?? w.at('hydra_lm_head').at(head);
    expectFit(what, 'a vocabulary of', [storedShape(checkpoint, `${project.path}.weight`)?.[0] ?? V, V]);
    const first = {
      linear: linear(narrow.at('linear'), [D, inputs]),
      past: grounded ? linear(narrow.at('res_connection'), [D, inputs]) : (x: Tensor) => x,
    };
    const rest = blocks.map((block) => linear(block.at('linear'), [D, D]));
    const lmHead = linear(project, [V, D]);
    heads.push((hidden, following) => {
      const x = grounded ? concat([hidden, ...following.map((tokens) => target.embed(tokens))], 1) : hidden;
      return lmHead(rest.reduce((h, block) => h.add(block(h).silu()), first.past(x).add(first.linear(x).silu())));
    });
  }
  if (heads.length === 0) throw new HeadConfigError(`${what}: expected tensors hydra_mlp.0.…, found none.`);
  const prefix = w.has('prefix_embeding_layer') ? hydraPrefix(w.at('prefix_embeding_layer'), what, options) : undefined;
  return {
    needs: { hidden: 'after-norm' },
    hiddenSize: D,
    count: heads.length,
    weights: w.finish({ ignore: copies }),
    ...(prefix ? { prefix } : {}),
    logits(hidden, following) {
      const head = heads[following.length - 1];
      if (!head) throw new ArgumentError(`${what}: expected 1 to ${heads.length} tokens, got ${following.length}.`);
      return head(hidden, following);
    },
  };
}

/** Views of the numbered parts that have a tensor `suffix`, in order; dropout layers leave gaps, and one part alone has no number. */
function numbered(checkpoint: Checkpoint, w: Weights, suffix: string): Weights[] {
  const numbers = [...checkpoint.tensors.keys()]
    .filter((name) => name.startsWith(`${w.path}.`) && name.endsWith(suffix))
    .map((name) => name.slice(w.path.length + 1, -suffix.length))
    .filter((part) => /^\d+$/.test(part));
  return numbers
    .map(Number)
    .sort((a, b) => a - b)
    .map((part) => w.at(part));
}

function hydraPrefix(w: Weights, what: string, { targetConfig }: HydraOptions): HydraPrefix {
  if (!targetConfig) {
    throw new HeadConfigError(
      `${what}: the prefix layer has the sizes of the target's layers, which its file does not say. Pass targetConfig, the target's config.json.`,
    );
  }
  const shape = layerShape(headFields(targetConfig));
  const { hiddenSize: D, rmsNormEps: epsilon } = shape;
  const block = llamaBlock(w.at('layers').at(0), shape, 0);
  const norm = rmsNorm(w.at('norm'), D, epsilon);
  return {
    maxPositions: shape.maxPositions,
    state: (capacityTokens, options) =>
      softmaxAttention([cachedHeads(shape)], capacityTokens, { name: 'hydra', ...options }),
    forward: (rows, hidden, state) => norm(block(hidden, rows, state as AttentionState)),
  };
}
