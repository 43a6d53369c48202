/** Heads of all layouts on tiny random checkpoints, held to plain loops over one row: one row attends to itself alone. */
import type { Rows } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import type { Graph } from '@forerun/tensor';
import { hold, randomSource, relativeError, testDevice, uploadFloats } from '@forerun/tensor/harness';
import { describe, expect, test } from 'vitest';
import {
  add,
  checkpoint,
  D,
  embedTokens,
  F,
  norm,
  silu,
  target,
  targetValues,
  times,
  V,
  type Values,
  type Vector,
  weightValues,
} from '../test/tiny-checkpoint.ts';
import { eagleHead, HeadConfigError, hydraHeads, medusaHeads } from './index.ts';

const device = await testDevice();
/** Tokens of a draft's own vocabulary. */
const Vd = 11;

describe('Medusa heads', () => {
  const prefixes: Readonly<Record<string, { block: (h: number, b: number) => string; head: (h: number) => string }>> = {
    FasterDecoding: { block: (h, b) => `${h}.${b}.linear`, head: (h) => `${h}.2` },
    'a model': { block: (h, b) => `medusa_head.${h}.${b}.linear`, head: (h) => `medusa_head.${h}.2` },
    vLLM: { block: (h, b) => `blocks.${h}.layers.${b}`, head: (h) => `lm_heads.${h}` },
    'vLLM, one projection': {
      block: (h, b) => `medusa_heads.blocks.${h}.layers.${b}`,
      head: () => 'medusa_heads.lm_heads.0',
    },
  };

  test.each(Object.entries(prefixes))('of %s', async (layout, { block, head }) => {
    const biased = !layout.startsWith('vLLM');
    const shapes: Record<string, readonly number[]> = layout === 'a model' ? { 'model.norm.weight': [D] } : {};
    for (const h of [0, 1]) {
      for (const b of [0, 1]) {
        shapes[`${block(h, b)}.weight`] = [D, D];
        if (biased) shapes[`${block(h, b)}.bias`] = [D];
      }
      shapes[`${head(h)}.weight`] = [V, D];
    }
    const { checkpoint: file, values } = checkpoint({}, shapes);
    const heads = medusaHeads(file, target);
    expect(heads.count).toBe(2);
    const random = randomSource(5);
    const hidden = Array.from({ length: D }, () => Math.fround(random.normal()));
    const weights = weightValues(heads.weights, values);
    const { outputs } = await hold(device, {
      inputs: { hidden: { shape: [1, D], data: hidden } },
      body: (t) => ({ first: heads.logits(t.hidden, 0), second: heads.logits(t.hidden, 1) }),
      weights,
      upload: uploadFloats(weights),
      tolerance: 1e-5,
    });
    for (const [h, name] of ['first', 'second'].entries()) {
      let x = hidden;
      for (const b of [0, 1]) {
        const y = times(values.get(`${block(h, b)}.weight`)!, x);
        const bias = values.get(`${block(h, b)}.bias`);
        x = add(x, (bias ? add(y, [...bias]) : y).map(silu));
      }
      expect(relativeError(outputs[name]!, times(values.get(`${head(h)}.weight`)!, x))).toBeLessThan(1e-5);
    }
  });
});

describe('Hydra heads', () => {
  /** Dropout layers take the even numbers; the sixth block is behind the ninth. */
  const blocks = [1, 3, 5, 7, 9, 11];

  test.each([true, false])('of many blocks between dropout layers, grounded: %s', async (grounded) => {
    const inputs = grounded ? 3 * D : D;
    const shapes: Record<string, readonly number[]> = {
      'hydra_lm_head.0.1.weight': [V, D],
      'hydra_lm_head.0.1.bias': [V],
      'hydra_lm_head.1.1.weight': [V, D],
      'hydra_lm_head.1.1.bias': [V],
    };
    for (const head of [0, 1]) {
      for (const block of blocks) {
        const width = block > 1 ? D : grounded ? (head + 2) * D : D;
        shapes[`hydra_mlp.${head}.${block}.linear.weight`] = [D, width];
        shapes[`hydra_mlp.${head}.${block}.linear.bias`] = [D];
      }
      if (!grounded) continue;
      shapes[`hydra_mlp.${head}.1.res_connection.weight`] = [D, (head + 2) * D];
      shapes[`hydra_mlp.${head}.1.res_connection.bias`] = [D];
    }
    const { checkpoint: file, values } = checkpoint({}, shapes);
    const heads = hydraHeads(file, target);
    expect(heads.count).toBe(2);
    const random = randomSource(5);
    const hidden = Array.from({ length: D }, () => Math.fround(random.normal()));
    const weights = weightValues(heads.weights, values);
    const { outputs } = await hold(device, {
      inputs: { hidden: { shape: [1, D], data: hidden } },
      body: (t, graph) => ({
        second: heads.logits(
          t.hidden,
          [4, 7].map((token) => graph.constant(Uint32Array.of(token))),
        ),
      }),
      weights,
      upload: uploadFloats(weights),
      tolerance: 1e-5,
    });
    const table = targetValues.get(embedTokens.name)!;
    const seen = [...hidden, ...[4, 7].flatMap((token) => [...table.subarray(token * D, (token + 1) * D)])];
    const part = (name: string, row: Vector) =>
      add(times(values.get(`hydra_mlp.1.${name}.weight`)!, row), [...values.get(`hydra_mlp.1.${name}.bias`)!]);
    let x: Vector = seen.slice(0, inputs);
    for (const block of blocks) {
      const past = grounded && block === 1 ? part('1.res_connection', x) : x;
      x = add(past, part(`${block}.linear`, x).map(silu));
    }
    const expected = add(times(values.get('hydra_lm_head.1.1.weight')!, x), [...values.get('hydra_lm_head.1.1.bias')!]);
    expect(relativeError(outputs['second']!, expected)).toBeLessThan(1e-5);
  });

  test('of another target are refused with both numbers', () => {
    const shapes = {
      'hydra_mlp.0.0.linear.weight': [D, 2 * D],
      'hydra_mlp.0.0.res_connection.weight': [D, 2 * D],
      'hydra_lm_head.0.weight': [V + 1, D],
    };
    expect(() => hydraHeads(checkpoint({}, shapes).checkpoint, target)).toThrow(/vocabulary of 21.* has 20/);
  });
});

const layerConfig = {
  hidden_size: D,
  intermediate_size: F,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
};

interface EagleVariant {
  readonly config: object;
  readonly stem: string;
  readonly taps: readonly number[];
  readonly options?: {
    residual?: boolean;
    output?: boolean;
    beforeFc?: boolean;
    perLayer?: boolean;
    embedding?: boolean;
    further?: boolean;
  };
}

const nested = { speculators_model_type: 'eagle3', transformer_layer_config: layerConfig, draft_vocab_size: Vd };
const eagleVariants: Readonly<Record<string, EagleVariant>> = {
  SafeAILab: { config: layerConfig, stem: 'midlayer', taps: [2, 3] },
  'SpecForge, whose layers are outputs': {
    config: { ...layerConfig, eagle_config: { eagle_aux_hidden_state_layer_ids: [0, 2, 4] } },
    stem: 'midlayer',
    taps: [1, 3, 5],
    options: { embedding: true },
  },
  'speculators, whose layers are inputs': {
    config: { ...nested, eagle_aux_hidden_state_layer_ids: [1, 3, 5] },
    stem: 'layers.0',
    taps: [1, 3, 5],
    options: { embedding: true },
  },
  'speculators with the residual behind its norm': {
    config: { ...nested, norm_before_residual: true },
    stem: 'layers.0',
    taps: [2, 3],
    options: { residual: true },
  },
  'speculators that recycle the normed output': {
    config: { ...nested, norm_output: true },
    stem: 'layers.0',
    taps: [2, 3],
    options: { output: true },
  },
  'speculators with a norm before fc': {
    config: { ...nested, norm_before_fc: true },
    stem: 'layers.0',
    taps: [2, 3],
    options: { beforeFc: true },
  },
  'speculators with a norm of each layer before fc': {
    config: { ...nested, fc_norm: true },
    stem: 'layers.0',
    taps: [2, 3],
    options: { perLayer: true },
  },
  'speculators with a further layer': {
    config: nested,
    stem: 'layers.0',
    taps: [2, 3],
    options: { further: true },
  },
};

const layerShapes = (stem: string, inputs: number): Record<string, readonly number[]> => ({
  [`${stem}.self_attn.q_proj.weight`]: [D, inputs],
  [`${stem}.self_attn.k_proj.weight`]: [D / 2, inputs],
  [`${stem}.self_attn.v_proj.weight`]: [D / 2, inputs],
  [`${stem}.self_attn.o_proj.weight`]: [D, D],
  [`${stem}.mlp.gate_proj.weight`]: [F, D],
  [`${stem}.mlp.up_proj.weight`]: [F, D],
  [`${stem}.mlp.down_proj.weight`]: [D, F],
  [`${stem}.post_attention_layernorm.weight`]: [D],
});

function eagleShapes({ stem, taps, options = {} }: EagleVariant): Record<string, readonly number[]> {
  const features = taps.length * D;
  return {
    'fc.weight': [D, features],
    ...layerShapes(stem, 2 * D),
    [`${stem}.hidden_norm.weight`]: [D],
    [`${stem}.input_layernorm.weight`]: [D],
    ...(options.further ? { ...layerShapes('layers.1', D), 'layers.1.input_layernorm.weight': [D] } : {}),
    'norm.weight': [D],
    'lm_head.weight': [Vd, D],
    ...(options.embedding ? { 'embed_tokens.weight': [V, D] } : {}),
    ...(options.beforeFc ? { 'input_norm.weight': [features] } : {}),
    ...(options.perLayer ? Object.fromEntries(taps.map((_, i) => [`fc_norm.${i}.weight`, [D]])) : {}),
  };
}

/** What a layer makes of one row at the beginning, which sees itself alone: `x` of what attention sees. */
function layerRow(values: Values, stem: string, { residual, x }: { residual: Vector; x: Vector }): number[] {
  const w = (name: string) => values.get(`${stem}.${name}.weight`)!;
  const v = times(w('self_attn.v_proj'), x);
  const h = add(residual, times(w('self_attn.o_proj'), [...v, ...v]));
  const n = norm(h, w('post_attention_layernorm'));
  const up = times(w('mlp.up_proj'), n);
  const inner = times(w('mlp.gate_proj'), n).map((gate, i) => silu(gate) * up[i]!);
  return add(h, times(w('mlp.down_proj'), inner));
}

/** What an EAGLE-3 head gives for one row at the beginning. */
function eagleRow({ stem, options = {} }: EagleVariant, values: Values, row: { token: number; features: Vector }) {
  const w = (name: string) => (values.get(`${name}.weight`) ?? values.get(`${stem}.${name}.weight`))!;
  const table = options.embedding ? w('embed_tokens') : targetValues.get(embedTokens.name)!;
  const embedded = [...table.subarray(row.token * D, (row.token + 1) * D)];
  let joined = row.features;
  if (options.beforeFc) joined = norm(joined, w('input_norm'));
  if (options.perLayer) {
    joined = [0, 1].flatMap((i) => norm(row.features.slice(i * D, (i + 1) * D), w(`fc_norm.${i}`)));
  }
  const g = times(w('fc'), joined);
  const normed = norm(g, w('hidden_norm'));
  const x = [...norm(embedded, w('input_layernorm')), ...normed];
  let hidden = layerRow(values, stem, { residual: options.residual ? normed : g, x });
  if (options.further) {
    const own = norm(hidden, values.get('layers.1.input_layernorm.weight')!);
    hidden = layerRow(values, 'layers.1', { residual: hidden, x: own });
  }
  const out = norm(hidden, w('norm'));
  return { hidden, recycled: options.output ? out : hidden, logits: times(w('lm_head'), out) };
}

const firstRow = (graph: Graph, inputs: Rows['inputs']): Rows => {
  const zero = graph.constant(Uint32Array.of(0));
  const one = graph.constant(Uint32Array.of(1));
  return { inputs, positions: zero, depths: zero, slots: zero, spans: one, count: one, length: zero };
};

/** Offsets of the target's tokens 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 18 from those of the draft. */
const d2t = Array.from({ length: Vd }, (_, i) => Math.min(i, 9) - (i % 2) - Math.max(i - 9, 0));

test('EAGLE-1 heads of two layers, the first without a norm before attention', async () => {
  const { checkpoint: file, values } = checkpoint(layerConfig, {
    'fc.weight': [D, 2 * D],
    'fc.bias': [D],
    ...layerShapes('layers.0', D),
    ...layerShapes('layers.1', D),
    'layers.1.input_layernorm.weight': [D],
    'layers.0.self_attn.rotary_emb.inv_freq': [D / 4],
  });
  const head = await eagleHead(file, target);
  const state = head.state(8, { rollbackTokens: 0 });
  const random = randomSource(9);
  const features = Array.from({ length: D }, () => Math.fround(random.normal()));
  const weights = weightValues(head.weights, values);
  const { outputs } = await hold(device, {
    inputs: { features: { shape: [1, D], data: features } },
    body: (t, graph) => head.forward(firstRow(graph, graph.constant(Uint32Array.of(13))), t.features, state),
    states: new Map(state.states.map((one) => [one, new Float64Array(one.shape.reduce((a, b) => a * b, 1))])),
    weights,
    upload: uploadFloats(weights),
    tolerance: 1e-5,
  });
  const embedded = targetValues.get(embedTokens.name)!.subarray(13 * D, 14 * D);
  const x = add(times(values.get('fc.weight')!, [...embedded, ...features]), [...values.get('fc.bias')!]);
  const first = layerRow(values, 'layers.0', { residual: x, x });
  const own = norm(first, values.get('layers.1.input_layernorm.weight')!);
  const hidden = layerRow(values, 'layers.1', { residual: first, x: own });
  expect(relativeError(outputs['hidden']!, hidden)).toBeLessThan(1e-5);
});

describe('EAGLE-3 heads', () => {
  test.each(Object.entries(eagleVariants))('of %s', async (_, variant) => {
    const { checkpoint: file, values } = checkpoint(variant.config, eagleShapes(variant), d2t);
    const head = await eagleHead(file, target);
    expect(head).toMatchObject({ needs: { taps: variant.taps }, vocabSize: Vd });
    const state = head.state(8, { rollbackTokens: 0 });
    const random = randomSource(9);
    const features = Array.from({ length: variant.taps.length * D }, () => Math.fround(random.normal()));
    const token = 13;
    const weights = weightValues(head.weights, values);
    const { outputs } = await hold(device, {
      inputs: { features: { shape: [1, features.length], data: features } },
      body(t, graph) {
        const passed = head.forward(firstRow(graph, graph.constant(Uint32Array.of(token))), t.features, state);
        const logits = head.logits(passed.hidden);
        const all = graph.constant(Uint32Array.from({ length: Vd }, (_unused, i) => i));
        return { ...passed, logits, spread: head.spread(logits), tokens: head.tokens(all) };
      },
      states: new Map(state.states.map((one) => [one, new Float64Array(one.shape.reduce((a, b) => a * b, 1))])),
      weights,
      upload: uploadFloats(weights),
      tolerance: 1e-5,
    });
    const expected = eagleRow(variant, values, { token, features });
    for (const [name, wanted] of Object.entries(expected))
      expect(relativeError(outputs[name]!, wanted), name).toBeLessThan(1e-5);
    const tokens = d2t.map((offset, i) => i + offset);
    expect([...outputs['tokens']!]).toEqual(tokens);
    const spread = outputs['spread']!;
    for (let token_ = 0; token_ < V; token_++) {
      const own = tokens.lastIndexOf(token_);
      expect(spread[token_]).toBe(own < 0 ? Math.fround(-3e38) : outputs['logits']![own]);
    }
  });

  const [base] = Object.values(eagleVariants) as [EagleVariant];
  const failing = (shapes: object, table: readonly number[] | undefined, config: object = base.config) =>
    eagleHead(checkpoint(config, { ...eagleShapes(base), ...shapes }, table).checkpoint, target);

  test('with tables or layers that do not fit are refused', async () => {
    await expect(failing({}, d2t.with(3, 40))).rejects.toThrow(MismatchedPartsError);
    await expect(failing({}, d2t.with(3, 40))).rejects.toThrow(/draft token 3 to 43.* 20 tokens/);
    await expect(failing({}, d2t.with(0, -1))).rejects.toThrow(/draft token 0 to -1/);
    await expect(failing({}, d2t.slice(1))).rejects.toThrow(HeadConfigError);
    await expect(failing({ t2d: [V] }, d2t)).resolves.toMatchObject({ vocabSize: Vd });
    await expect(failing({ t2d: [V + 3] }, d2t)).rejects.toThrow(/t2d is of a vocabulary of 23 tokens.* has 20/);
    const renamed = { ...layerConfig, draft_vocab_size: Vd + 1 };
    await expect(failing({}, d2t, renamed)).rejects.toThrow(/draft_vocab_size is 12, and lm_head has 11 rows/);
    await expect(failing({}, undefined)).rejects.toThrow(/vocabulary of 11.* has 20/);
    await expect(failing({ 'fc.weight': [D, 3 * D] }, d2t)).rejects.toThrow(/\(2 layers\) as wide as 24.* has 16/);
    const far = { ...layerConfig, eagle_aux_hidden_state_layer_ids: [1, 9] };
    await expect(failing({}, d2t, far)).rejects.toThrow(/layers 1, 9.* 6 layers/);
    const { rms_norm_eps: _, ...incomplete } = layerConfig;
    await expect(failing({}, d2t, incomplete)).rejects.toThrow(/rms_norm_eps is missing/);
    await expect(failing({}, d2t, { ...layerConfig, hidden_act: 'tanh' })).rejects.toThrow(/hidden_act is "tanh"/);
  });
});
