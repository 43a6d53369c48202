/**
 * Multi-head latent attention of DeepSeek-V2 and -V3 (arXiv:2412.19437): queries, keys and values come out of narrow latents, and a part
 * of each head turns by the position, its keys being one for all heads. The cache holds the keys and values of every head.
 */
import type { AttentionLayer, AttentionState } from '@forerun/attention';
import type { ConfigFields, Weights } from '@forerun/checkpoints';
import { concat, parseRope, rope, ropeFrequencies, type RopeFrequencies, slice, type Tensor } from '@forerun/tensor';
import type { Layer, SequenceLayer } from './layer.ts';
import { linear } from './linear.ts';
import { rmsNorm } from './rms-norm.ts';

/** Sizes of latent attention; names are those of config.json in camel case. */
export interface LatentShape {
  readonly hiddenSize: number;
  readonly numAttentionHeads: number;
  /** Width of the queries' latent; undefined where queries are made directly. */
  readonly qLoraRank: number | undefined;
  readonly kvLoraRank: number;
  /** Width of the part of a head that does not turn. */
  readonly qkNopeHeadDim: number;
  /** Width of the part that turns. */
  readonly qkRopeHeadDim: number;
  readonly vHeadDim: number;
  readonly ropeInterleave: boolean;
  /** Whether the projections into latents, and the last one, have biases. */
  readonly attentionBias: boolean;
  readonly rmsNormEps: number;
  readonly rope: RopeFrequencies;
  /** Factor on dot products. */
  readonly scale: number;
}

/** Reads the sizes of latent attention. */
export function latentShape(fields: ConfigFields): LatentShape {
  const size = (name: string) => fields.integer(name, { min: 1, max: 2 ** 20 });
  const [qkNopeHeadDim, qkRopeHeadDim] = [size('qk_nope_head_dim'), size('qk_rope_head_dim')];
  const parameters = parseRope(fields.json, { headDim: qkRopeHeadDim });
  // With yarn, dot products carry the square of a second temperature.
  const stretch =
    parameters.type === 'yarn' && parameters.mscaleAllDim && parameters.factor > 1
      ? 0.1 * parameters.mscaleAllDim * Math.log(parameters.factor) + 1
      : 1;
  return {
    hiddenSize: size('hidden_size'),
    numAttentionHeads: size('num_attention_heads'),
    qLoraRank: fields.has('q_lora_rank') ? size('q_lora_rank') : undefined,
    kvLoraRank: size('kv_lora_rank'),
    qkNopeHeadDim,
    qkRopeHeadDim,
    vHeadDim: size('v_head_dim'),
    attentionBias: fields.boolean('attention_bias', false),
    ropeInterleave: fields.boolean('rope_interleave', true),
    rmsNormEps: fields.number('rms_norm_eps', { min: 0, max: 1 }),
    rope: ropeFrequencies(parameters),
    scale: (qkNopeHeadDim + qkRopeHeadDim) ** -0.5 * stretch ** 2,
  };
}

/** What the cache of such a layer holds. */
export function latentCache(shape: LatentShape): AttentionLayer {
  const { numAttentionHeads, qkNopeHeadDim, qkRopeHeadDim, vHeadDim, scale } = shape;
  return { kvHeads: numAttentionHeads, headDim: qkNopeHeadDim + qkRopeHeadDim, valueDim: vHeadDim, scale };
}

/** Latent attention: `[M, D]` to `[M, D]`. */
export function latentAttention(w: Weights, shape: LatentShape, layer: number): SequenceLayer<AttentionState> {
  const { hiddenSize: D, numAttentionHeads: H, kvLoraRank: C, rmsNormEps: epsilon } = shape;
  const { qkNopeHeadDim: N, qkRopeHeadDim: R, vHeadDim: Ev, attentionBias: bias } = shape;
  const queries = latentQueries(w, shape);
  const kvDown = linear(w.at('kv_a_proj_with_mqa'), [C + R, D], { bias });
  const kvNorm = rmsNorm(w.at('kv_a_layernorm'), C, epsilon);
  const kvUp = linear(w.at('kv_b_proj'), [H * (N + Ev), C]);
  const oProj = linear(w.at('o_proj'), [D, H * Ev], { bias });

  return (x, rows, state) => {
    const M = x.shape[0]!;
    const turn = (part: Tensor) =>
      rope(part, rows.positions, shape.rope, { spans: rows.spans, interleaved: shape.ropeInterleave });
    const q = queries(x).reshape([M, H, N + R]);
    const latent = kvDown(x);
    const kv = kvUp(kvNorm(slice(latent, 1, [0, C]))).reshape([M, H, N + Ev]);
    const oneKey = turn(slice(latent, 1, [C, C + R]).reshape([M, 1, R]));
    const turnedKeys = oneKey.add(x.graph.constant(new Float32Array(H * R), [1, H, R]));
    const seen = state.attend(
      layer,
      {
        q: concat([slice(q, 2, [0, N]), turn(slice(q, 2, [N, N + R]))], 2),
        k: concat([slice(kv, 2, [0, N]), turnedKeys], 2),
        v: slice(kv, 2, [N, N + Ev]),
      },
      rows,
    );
    return oProj(seen.reshape([M, H * Ev]));
  };
}

function latentQueries(w: Weights, shape: LatentShape): Layer {
  const { hiddenSize: D, numAttentionHeads: H, qLoraRank: Q, rmsNormEps: epsilon, attentionBias: bias } = shape;
  const width = H * (shape.qkNopeHeadDim + shape.qkRopeHeadDim);
  if (Q === undefined) return linear(w.at('q_proj'), [width, D]);
  const down = linear(w.at('q_a_proj'), [Q, D], { bias });
  const norm = rmsNorm(w.at('q_a_layernorm'), Q, epsilon);
  const up = linear(w.at('q_b_proj'), [width, Q]);
  return (x) => up(norm(down(x)));
}
