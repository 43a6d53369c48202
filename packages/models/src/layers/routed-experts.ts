/**
 * Mixtures of experts as DeepSeek-V3 and GLM-4.5 route them: a router weighs the experts of each row, the best few count. Every expert runs
 * over all rows and those that were not chosen are weighed with 0: exact, and dear where there are hundreds.
 */
import type { Weights } from '@forerun/checkpoints';
import { linear as multiply, reduce, rmsNorm as normalise, slice, type Tensor, topK } from '@forerun/tensor';
import type { ConfigFields } from '../config/fields.ts';
import { type Activation, activations, gatedMlp } from './gated-mlp.ts';
import type { Layer } from './layer.ts';

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
    groups,
    groupsUsed: fields.integer('topk_group', { min: 1, max: groups }, 1),
    normed: fields.boolean('norm_topk_prob', true),
    scaling: fields.number('routed_scaling_factor', { min: 0 }, 1),
  };
}

/** Matrices of such a layer: every expert counts, since all of them run. */
export function expertMatrices(shape: RoutedShape): readonly (readonly [outputs: number, inputs: number])[] {
  const { hiddenSize: D, experts, moeIntermediateSize, sharedIntermediateSize } = shape;
  const F = experts * moeIntermediateSize + sharedIntermediateSize;
  return [
    [experts, D],
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
  // It chooses and does not weigh.
  const correction = w.at('gate').tensor('e_score_correction_bias', [E]);
  const each = Array.from({ length: E }, (_, expert) =>
    gatedMlp(w.at('experts').at(expert), [D, shape.moeIntermediateSize], { act: hiddenAct }),
  );
  const F = shape.sharedIntermediateSize;
  const shared = F > 0 ? gatedMlp(w.at('shared_experts'), [D, F], { act: hiddenAct }) : undefined;
  return (x) => {
    const scores = multiply(x, gate).sigmoid();
    // A vector of ones has the norm 1, so that what comes out is the weight itself, as a tensor.
    const ones = x.graph.constant(new Float32Array(E).fill(1), [1, E]);
    const choice = scores.add(normalise(ones, correction, { epsilon: 0 }));
    const weights = expertWeights(scores, choice, shape);
    return each.reduce(
      (sum, expert, e) => sum.add(expert(x).mul(slice(weights, 1, [e, e + 1]))),
      shared ? shared(x) : x.mul(0),
    );
  };
}

/** Weights `[M, E]` of the experts of each row; 0 for those not chosen. */
function expertWeights(scores: Tensor, choice: Tensor, shape: RoutedShape): Tensor {
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
  const chosen = scores.mul(amongBest(open, perToken).to('f32'));
  const total = normed ? reduce(chosen, 'sum', { keepDims: true }).add(1e-20) : undefined;
  return (total ? chosen.div(total) : chosen).mul(scaling);
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
