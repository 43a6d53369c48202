/** Block drafters on a tiny random checkpoint, held to plain loops. */
import type { Rows } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { Graph, Tensor } from '@forerun/tensor';
import { hold, randomSource, relativeError, testDevice, uploadFloats } from '@forerun/tensor/harness';
import { describe, expect, test } from 'vitest';
import {
  add,
  checkpoint,
  D,
  embedTokens,
  F,
  lmHead,
  norm,
  silu,
  target,
  targetValues,
  times,
  type Values,
  type Vector,
  weightValues,
} from '../../test/tiny-checkpoint.ts';
import { blockHead, HeadConfigError } from '../index.ts';

const device = await testDevice();
const [H, E, B, mask, layerCount] = [2, 4, 4, 19, 2];
const context = 5;

const sizes = {
  model_type: 'qwen3',
  hidden_size: D,
  intermediate_size: F,
  num_hidden_layers: layerCount,
  num_attention_heads: H,
  num_key_value_heads: 1,
  head_dim: E,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
};

const variants = {
  DFlash: {
    config: {
      ...sizes,
      block_size: B,
      num_target_layers: 6,
      dflash_config: { mask_token_id: mask, target_layer_ids: [1, 3] },
    },
    taps: [2, 4],
    causal: false,
    fromAnchor: false,
  },
  JetSpec: {
    config: {
      ...sizes,
      block_size: B,
      dflash_config: { mask_token_id: mask, target_layer_ids: [1, 3], causal_head: true },
    },
    taps: [2, 4],
    causal: true,
    fromAnchor: false,
  },
  speculators: {
    config: {
      speculators_model_type: 'dflash',
      transformer_layer_config: sizes,
      block_size: B,
      mask_token_id: mask,
      aux_hidden_state_layer_ids: [2, 4],
      sample_from_anchor: true,
    },
    taps: [2, 4],
    causal: false,
    fromAnchor: true,
  },
} as const;

const shapes: Record<string, readonly number[]> = {
  'fc.weight': [D, 2 * D],
  'hidden_norm.weight': [D],
  'norm.weight': [D],
};
for (let layer = 0; layer < layerCount; layer++) {
  const at = `layers.${layer}.`;
  Object.assign(shapes, {
    [`${at}self_attn.q_proj.weight`]: [H * E, D],
    [`${at}self_attn.k_proj.weight`]: [E, D],
    [`${at}self_attn.v_proj.weight`]: [E, D],
    [`${at}self_attn.o_proj.weight`]: [D, H * E],
    [`${at}self_attn.q_norm.weight`]: [E],
    [`${at}self_attn.k_norm.weight`]: [E],
    [`${at}mlp.gate_proj.weight`]: [F, D],
    [`${at}mlp.up_proj.weight`]: [F, D],
    [`${at}mlp.down_proj.weight`]: [D, F],
    [`${at}input_layernorm.weight`]: [D],
    [`${at}post_attention_layernorm.weight`]: [D],
  });
}

const turn = (x: Vector, position: number): number[] => {
  const half = x.length / 2;
  return x.map((value, i) => {
    const angle = position * 10000 ** (-(i % half) / half);
    return value * Math.cos(angle) + (i < half ? -x[i + half]! : x[i - half]!) * Math.sin(angle);
  });
};

/** Logits of the drafts by plain loops. */
function reference(
  values: Values,
  features: readonly Vector[],
  { anchor, causal, fromAnchor }: { anchor: number; causal: boolean; fromAnchor: boolean },
): number[] {
  const w = (name: string) => values.get(`${name}.weight`)!;
  const contextRows = features.map((row) => norm(times(w('fc'), row), w('hidden_norm')));
  const table = targetValues.get(embedTokens.name)!;
  let rows: number[][] = [anchor, mask, mask, mask].map((token) => [...table.subarray(token * D, (token + 1) * D)]);
  for (let layer = 0; layer < layerCount; layer++) {
    const at = (name: string) => w(`layers.${layer}.${name}`);
    const inputs = rows.map((row) => norm(row, at('input_layernorm')));
    const all = [...contextRows, ...inputs];
    const keys = all.map((row, position) =>
      turn(norm(times(at('self_attn.k_proj'), row), at('self_attn.k_norm')), position),
    );
    const valueRows = all.map((row) => times(at('self_attn.v_proj'), row));
    rows = rows.map((row, index) => {
      const queries = times(at('self_attn.q_proj'), inputs[index]!);
      const visible = causal ? context + index + 1 : context + B;
      const seen = Array.from({ length: H }, (_, head) => {
        const q = turn(norm(queries.slice(head * E, (head + 1) * E), at('self_attn.q_norm')), context + index);
        const scores = keys
          .slice(0, visible)
          .map((k) => Math.exp(k.reduce((sum, value, i) => sum + value * q[i]!, 0) / Math.sqrt(E)));
        const total = scores.reduce((a, b) => a + b, 0);
        return Array.from({ length: E }, (_unused, i) =>
          scores.reduce((sum, score, key) => sum + (score / total) * valueRows[key]![i]!, 0),
        );
      }).flat();
      const h = add(row, times(at('self_attn.o_proj'), seen));
      const n = norm(h, at('post_attention_layernorm'));
      const up = times(at('mlp.up_proj'), n);
      const inner = times(at('mlp.gate_proj'), n).map((value, i) => silu(value) * up[i]!);
      return add(h, times(at('mlp.down_proj'), inner));
    });
  }
  const used = fromAnchor ? rows : rows.slice(1);
  return used.flatMap((row) => times(targetValues.get(lmHead.name)!, norm(row, w('norm'))));
}

/** Rows at positions and slots `begin ..< begin + M`. */
function rowsAt(graph: Graph, inputs: Tensor, begin: number, last?: number): Rows {
  const M = inputs.shape[0]!;
  const u32 = (value: (row: number) => number) =>
    graph.constant(Uint32Array.from({ length: M }, (_, row) => value(row)));
  const positions = u32((row) => begin + row);
  return {
    inputs,
    positions,
    depths: last === undefined ? positions : u32(() => last),
    slots: positions,
    spans: u32((row) => begin + row + 1),
    count: graph.constant(Uint32Array.of(M)),
    length: graph.constant(Uint32Array.of(begin)),
  };
}

describe.each(Object.entries(variants))('a block drafter of %s', (_, { config, taps, causal, fromAnchor }) => {
  test('guesses from the features of its context', async () => {
    const { checkpoint: file, values } = checkpoint(config, shapes);
    const head = await blockHead(file, target);
    expect(head).toMatchObject({
      needs: { taps },
      blockSize: B,
      maskToken: mask,
      causal,
      drafts: fromAnchor ? B : B - 1,
    });
    const random = randomSource(4);
    const features = Array.from({ length: context }, () =>
      Array.from({ length: 2 * D }, () => Math.fround(random.normal())),
    );
    const state = head.state(16, { rollbackTokens: 0 });
    const weights = weightValues(head.weights, values);
    const half = (part: number) => features.flatMap((row) => row.slice(part * D, (part + 1) * D));
    const { outputs } = await hold(device, {
      inputs: {
        first: { shape: [context, D], data: half(0) },
        second: { shape: [context, D], data: half(1) },
      },
      body(t, graph) {
        const none = graph.constant(new Uint32Array(context));
        head.ingest(rowsAt(graph, none, 0), { taps: [t.first, t.second] }, state);
        const tokens = graph.constant(Uint32Array.of(7, mask, mask, mask));
        return { logits: head.logits(rowsAt(graph, tokens, context, causal ? undefined : context + B - 1), state) };
      },
      weights,
      upload: uploadFloats(weights),
      bound: 16,
      tolerance: 1e-5,
    });
    expect(
      relativeError(outputs['logits']!, reference(values, features, { anchor: 7, causal, fromAnchor })),
    ).toBeLessThan(1e-5);
  });
});

test('block drafters that do not fit are refused', async () => {
  const { config } = variants.DFlash;
  const load = (fields: object, changes: object = {}, tensors: object = {}) =>
    blockHead(checkpoint({ ...config, ...fields }, { ...shapes, ...tensors }).checkpoint, { ...target, ...changes });
  await expect(load({}, { hiddenSize: 16 })).rejects.toThrow(MismatchedPartsError);
  await expect(load({}, { hiddenSize: 16 })).rejects.toThrow(/hidden size 8.* has 16/);
  await expect(load({}, { vocabSize: 19 })).rejects.toThrow(/token 19.* has 19/);
  await expect(load({}, { layerCount: 3 })).rejects.toThrow(/number of layers 6.* has 3/);
  await expect(load({ num_target_layers: 3 }, { layerCount: 3 })).rejects.toThrow(/layer 4.* has 3 layers/);
  await expect(load({}, {}, { 'fc.weight': [D, 3 * D] })).rejects.toThrow(/as wide as 24.* has 16/);
  await expect(load({ dflash_config: { mask_token_id: 1 } })).rejects.toThrow(HeadConfigError);
  const second = { mask_token_id: 1, target_layer_ids: [1, 3], conv_kernel_size: 2 };
  await expect(load({ dflash_config: second })).rejects.toThrow(/conv_kernel_size is 2/);
  await expect(load({ block_size: 1 })).rejects.toThrow(/block_size is 1/);
});
