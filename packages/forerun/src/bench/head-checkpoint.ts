/**
 * Heads of the shape that published ones have for a target, as checkpoints whose tensors are named and sized and have no bytes: their
 * weights are made on the device.
 */
import type { CheckpointTensor, WeightPolicy } from '@forerun/checkpoints';
import { Checkpoint, memorySource } from '@forerun/checkpoints';
import type { Drafter } from '@forerun/contracts';
import { eagle, medusa, mtp } from '@forerun/drafters';
import type { DecoderConfig } from '@forerun/models';
import type { HeadTarget } from '@forerun/mtp';
import { eagle3Head, medusaHeads, mtpHead } from '@forerun/mtp';

/** Families of heads that are measured. */
export const headKinds = ['eagle3', 'mtp', 'medusa'] as const;

/** A family of heads. */
export type HeadKind = (typeof headKinds)[number];

/** Draft vocabulary of most published EAGLE-3 heads. */
const draftVocabulary = 32_000;
/** Heads of a published Medusa checkpoint. */
const medusaCount = 4;

type Shapes = Readonly<Record<string, readonly number[]>>;

function attentionShapes(c: DecoderConfig, path: string, inputs: number): Shapes {
  const { hiddenSize: D, numAttentionHeads: H, numKeyValueHeads: K, headDim: E } = c;
  return {
    [`${path}.q_proj.weight`]: [H * E, inputs],
    [`${path}.k_proj.weight`]: [K * E, inputs],
    [`${path}.v_proj.weight`]: [K * E, inputs],
    [`${path}.o_proj.weight`]: [D, H * E],
  };
}

function mlpShapes({ hiddenSize: D, intermediateSize: F }: DecoderConfig, path: string): Shapes {
  return {
    [`${path}.gate_proj.weight`]: [F, D],
    [`${path}.up_proj.weight`]: [F, D],
    [`${path}.down_proj.weight`]: [D, F],
  };
}

/** Layers of the target that EAGLE-3 listens to: 2, L / 2 and L - 3, as far as a small target has them. */
function featureLayers({ numHiddenLayers: L }: DecoderConfig): readonly number[] {
  return [...new Set([Math.min(2, L), L >> 1, Math.max(0, L - 3)])].sort((a, b) => a - b);
}

const shapesOf: Readonly<Record<HeadKind, (c: DecoderConfig) => Shapes>> = {
  eagle3: (c) => {
    const D = c.hiddenSize;
    return {
      'fc.weight': [D, featureLayers(c).length * D],
      'midlayer.hidden_norm.weight': [D],
      'midlayer.input_layernorm.weight': [D],
      'midlayer.post_attention_layernorm.weight': [D],
      ...attentionShapes(c, 'midlayer.self_attn', 2 * D),
      ...mlpShapes(c, 'midlayer.mlp'),
      'norm.weight': [D],
      'lm_head.weight': [Math.min(draftVocabulary, c.vocabSize), D],
      d2t: [Math.min(draftVocabulary, c.vocabSize)],
    };
  },
  mtp: (c) => {
    const D = c.hiddenSize;
    const path = 'model.mtp_layers.0';
    return {
      [`${path}.token_layernorm.weight`]: [D],
      [`${path}.hidden_layernorm.weight`]: [D],
      [`${path}.input_proj.weight`]: [D, 2 * D],
      [`${path}.input_layernorm.weight`]: [D],
      ...attentionShapes(c, `${path}.self_attn`, D),
      [`${path}.post_attention_layernorm.weight`]: [D],
      ...mlpShapes(c, `${path}.mlp`),
      [`${path}.final_layernorm.weight`]: [D],
    };
  },
  medusa: ({ hiddenSize: D, vocabSize: V }) =>
    Object.fromEntries(
      Array.from({ length: medusaCount }, (_, head) => [
        [`${head}.0.linear.weight`, [D, D]],
        [`${head}.0.linear.bias`, [D]],
        [`${head}.1.weight`, [V, D]],
      ]).flat(),
    ),
};

/** Draft tokens spread over the target's vocabulary: entry i stands for token i + offset. */
function draftTable(own: number, target: number): Uint8Array {
  const offsets = BigInt64Array.from({ length: own }, (_, i) => BigInt(Math.floor((i * target) / own) - i));
  return new Uint8Array(offsets.buffer);
}

/**
 * A checkpoint of heads for a target of this configuration: EAGLE-3 with a draft vocabulary of 32,000, the one-layer dense module of MiMo
 * for MTP, four Medusa-1 heads with projections of their own.
 *
 * @param json - The target's config.json.
 */
export function headCheckpoint(
  kind: HeadKind,
  { json, config, weights }: { json: Readonly<Record<string, unknown>>; config: DecoderConfig; weights: WeightPolicy },
): Checkpoint {
  const { vocabSize } = config;
  const own = Math.min(draftVocabulary, vocabSize);
  const table = draftTable(own, vocabSize);
  const settings = {
    ...json,
    head_dim: config.headDim,
    use_sliding_window: false,
    eagle_aux_hidden_state_layer_ids: featureLayers(config),
    ...(kind === 'mtp' ? { model_type: 'mimo', num_nextn_predict_layers: 1 } : {}),
  };
  const bytes = new TextEncoder().encode(JSON.stringify(settings));
  const tensors = Object.entries(shapesOf[kind](config)).map(([name, shape]): CheckpointTensor => {
    const stored =
      name === 'd2t' ? ({ dtype: 'I64', end: table.length } as const) : ({ dtype: 'BF16', end: 0 } as const);
    return { name, shape, file: 'heads', begin: 0, ...stored };
  });
  return new Checkpoint({
    source: memorySource(
      new Map([
        ['config.json', bytes],
        ['heads', table],
      ]),
    ),
    tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])),
    files: ['heads'],
    metadata: new Map(),
    policy: weights,
  });
}

/** A drafter of random heads. */
export interface RandomHeads {
  readonly kind: HeadKind;
  /** The drafter for rounds of `nodes` rows. */
  drafter(nodes: number): Drafter;
}

/** Heads of the shape that a target has, ready to draft. */
export async function randomHeads(
  kind: HeadKind,
  target: HeadTarget,
  parts: { json: Readonly<Record<string, unknown>>; config: DecoderConfig; weights: WeightPolicy },
): Promise<RandomHeads> {
  const checkpoint = headCheckpoint(kind, parts);
  if (kind === 'medusa') {
    const drafter = medusa(medusaHeads(checkpoint, target));
    return { kind, drafter: () => drafter };
  }
  const drafter = kind === 'mtp' ? mtp(await mtpHead(checkpoint, target)) : eagle(await eagle3Head(checkpoint, target));
  return { kind, drafter: () => drafter };
}
