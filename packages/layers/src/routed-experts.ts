/**
 * Mixtures of experts as DeepSeek-V3, GLM-4.5 and Qwen3-Next route them: a router weighs the experts of each row, and the best few run on it.
 */
import type { ConfigFields, Weights } from '@forerun/checkpoints';
import {
  expertLinear,
  gather,
  linear as multiply,
  reduce,
  rmsNorm as normalise,
  softmax,
  type Tensor,
  topK,
} from '@forerun/tensor';
import { activate, type Activation, activations, gatedMlp } from './gated-mlp.ts';
import type { Layer } from './layer.ts';
import { linear } from './linear.ts';

/** How experts are chosen and weighed. */
export interface RoutedShape {
  readonly hiddenSize: number;
  readonly experts: number;
  readonly perToken: number;
  /** Width of an expert. */
  readonly moeIntermediateSize: number;
  /** Width of the experts that always count; 0 without. */
  readonly sharedIntermediateSize: number;
  readonly hiddenAct: Activation;
  /** `sigmoid` chooses with a correction that does not weigh, in groups; `softmax` by weight alone. */
  readonly scores: 'sigmoid' | 'softmax';
  /** Groups that experts lie in, and how many groups count. */
  readonly groups: number;
  readonly groupsUsed: number;
  /** Whether the weights of those chosen are divided by their sum. */
  readonly normed: boolean;
  /** Factor on the weights. */
  readonly scaling: number;
}

/** Reads how DeepSeek-V3 and GLM-4.5 route. */
export function groupRouting(fields: ConfigFields): RoutedShape {
  const experts = fields.integer('n_routed_experts', { min: 1, max: 4096 });
  const moeIntermediateSize = fields.integer('moe_intermediate_size', { min: 1, max: 2 ** 20 });
  const groups = fields.integer('n_group', { min: 1, max: experts }, 1);
  if (experts % groups !== 0) throw fields.error('n_group', `a divisor of n_routed_experts (${experts})`);
  return {
    hiddenSize: fields.integer('hidden_size', { min: 1 }),
    experts,
    perToken: fields.integer('num_experts_per_tok', { min: 1, max: experts }),
    moeIntermediateSize,
    sharedIntermediateSize: moeIntermediateSize * fields.integer('n_shared_experts', { min: 0, max: 64 }, 0),
    hiddenAct: fields.word('hidden_act', activations, 'silu'),
    scores: 'sigmoid',
    groups,
    groupsUsed: fields.integer('topk_group', { min: 1, max: groups }, 1),
    normed: fields.boolean('norm_topk_prob', true),
    scaling: fields.number('routed_scaling_factor', { min: 0 }, 1),
  };
}

/** Reads how Qwen3-Next routes. */
export function softmaxRouting(fields: ConfigFields): RoutedShape {
  const experts = fields.integer('num_experts', { min: 1, max: 4096 });
  return {
    hiddenSize: fields.integer('hidden_size', { min: 1 }),
    experts,
    perToken: fields.integer('num_experts_per_tok', { min: 1, max: experts }),
    moeIntermediateSize: fields.integer('moe_intermediate_size', { min: 1, max: 2 ** 20 }),
    sharedIntermediateSize: fields.integer('shared_expert_intermediate_size', { min: 0, max: 2 ** 20 }, 0),
    hiddenAct: fields.word('hidden_act', activations, 'silu'),
    scores: 'softmax',
    groups: 1,
    groupsUsed: 1,
    normed: fields.boolean('norm_topk_prob', true),
    scaling: 1,
  };
}

/** Matrices of such a layer with `experts` of its experts: all that it has, or those that run on a row. */
export function expertMatrices(
  shape: RoutedShape,
  experts: number,
): readonly (readonly [outputs: number, inputs: number])[] {
  const { hiddenSize: D, moeIntermediateSize, sharedIntermediateSize } = shape;
  const F = experts * moeIntermediateSize + sharedIntermediateSize;
  return [
    [shape.experts, D],
    [2 * F, D],
    [D, F],
  ];
}

/** Below every score, and finite. */
const notChosen = -3e38;

/** A mixture of experts: `[M, D]` to `[M, D]`. */
export function routedExperts(w: Weights, shape: RoutedShape): Layer {
  const { hiddenSize: D, experts: E, hiddenAct } = shape;
  const gate = w.at('gate').tensor('weight', [E, D]);
  const correction = shape.scores === 'sigmoid' ? w.at('gate').tensor('e_score_correction_bias', [E]) : undefined;
  const F = shape.moeIntermediateSize;
  const each = (name: string, size: readonly [number, number]) =>
    Array.from({ length: E }, (_, expert) => w.at('experts').at(expert).at(name).tensor('weight', size));
  const [gates, ups, downs] = [each('gate_proj', [F, D]), each('up_proj', [F, D]), each('down_proj', [D, F])];
  const shared = sharedExpert(w, shape);
  return (x) => {
    const logits = multiply(x, gate);
    const scores = shape.scores === 'sigmoid' ? logits.sigmoid() : softmax(logits);
    // A vector of ones has the norm 1, so that what comes out is the weight itself, as a tensor.
    const ones = x.graph.constant(new Float32Array(E).fill(1), [1, E]);
    const choice = correction ? scores.add(normalise(ones, correction, { epsilon: 0 })) : scores;
    const { ids, weights } = choose(scores, choice, shape);
    const hidden = activate(expertLinear(x, gates, ids), hiddenAct).mul(expertLinear(x, ups, ids));
    const routed = expertLinear(hidden, downs, ids, { weights });
    return shared ? shared(x).add(routed) : routed;
  };
}

/** The best experts of each row by `choice` `[M, E]`, best first, and what each of them weighs by `scores` `[M, E]`: both `[M, J]`. */
function choose(
  scores: Tensor,
  choice: Tensor,
  shape: RoutedShape,
): { readonly ids: Tensor; readonly weights: Tensor } {
  const [M, E] = scores.shape as [number, number];
  const { groups, groupsUsed, perToken, normed, scaling } = shape;
  let open = choice;
  if (groups > groupsUsed) {
    const members = E / groups;
    const grouped = choice.reshape([M, groups, members]);
    const best = reduce(topK(grouped, Math.min(2, members)).values, 'sum');
    const used = amongBest(best, groupsUsed).reshape([M, groups, 1]);
    open = used.select(grouped, notChosen).reshape([M, E]);
  }
  const ids = topK(open, perToken).indices;
  const begins = ids.graph.constant(
    Uint32Array.from({ length: M }, (_, row) => row * E),
    [M, 1],
  );
  const chosen = gather(scores.reshape([M * E]), ids.add(begins));
  const total = normed ? reduce(chosen, 'sum', { keepDims: true }).add(1e-20) : undefined;
  return { ids, weights: (total ? chosen.div(total) : chosen).mul(scaling) };
}

/** 1 (u32) for the `k` largest of each row of `[M, N]`, else 0. */
function amongBest(x: Tensor, k: number): Tensor {
  const [M, N] = x.shape as [number, number];
  const indices = topK(x, k).indices.reshape([M, 1, k]);
  const own = x.graph.constant(
    Uint32Array.from({ length: N }, (_, i) => i),
    [1, N, 1],
  );
  return reduce(own.equal(indices), 'sum');
}

/** The experts that always count; Qwen3-Next has one, behind a gate. */
function sharedExpert(
  w: Weights,
  { hiddenSize: D, sharedIntermediateSize: F, hiddenAct, scores }: RoutedShape,
): Layer | undefined {
  if (F === 0) return undefined;
  if (scores === 'sigmoid') return gatedMlp(w.at('shared_experts'), [D, F], { act: hiddenAct });
  const expert = gatedMlp(w.at('shared_expert'), [D, F], { act: hiddenAct });
  const gate = linear(w.at('shared_expert_gate'), [1, D]);
  return (x) => expert(x).mul(gate(x).sigmoid());
}
