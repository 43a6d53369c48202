import { memorySource, openCheckpoint } from '@forerun/checkpoints';
import { expect, test } from 'vitest';
import { loadModel, modelTypes } from './load.ts';

const [V, D, F, H, K, E] = [11, 8, 6, 4, 2, 2];

const config = {
  model_type: 'llama',
  vocab_size: V,
  hidden_size: D,
  intermediate_size: F,
  num_hidden_layers: 1,
  num_attention_heads: H,
  num_key_value_heads: K,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  eos_token_id: 2,
};
const layer = 'model.layers.0.';
const tensors: Readonly<Record<string, readonly number[]>> = {
  'model.embed_tokens.weight': [V, D],
  [`${layer}input_layernorm.weight`]: [D],
  [`${layer}self_attn.q_proj.weight`]: [H * E, D],
  [`${layer}self_attn.k_proj.weight`]: [K * E, D],
  [`${layer}self_attn.v_proj.weight`]: [K * E, D],
  [`${layer}self_attn.o_proj.weight`]: [D, H * E],
  [`${layer}post_attention_layernorm.weight`]: [D],
  [`${layer}mlp.gate_proj.weight`]: [F, D],
  [`${layer}mlp.up_proj.weight`]: [F, D],
  [`${layer}mlp.down_proj.weight`]: [D, F],
  'model.norm.weight': [D],
  'lm_head.weight': [V, D],
};

/** Loads a checkpoint of zeros with these files and tensors. */
async function load(
  files: Readonly<Record<string, object>>,
  shapes: Readonly<Record<string, readonly number[]>> = tensors,
) {
  let end = 0;
  const header = Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const begin = end;
      end += 4 * shape.reduce((product, size) => product * size, 1);
      return [name, { dtype: 'F32', shape, data_offsets: [begin, end] }];
    }),
  );
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + end);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  const json = Object.entries(files).map(
    ([name, value]) => [name, new TextEncoder().encode(JSON.stringify(value))] as const,
  );
  return loadModel(await openCheckpoint(memorySource(new Map([['model.safetensors', bytes], ...json]))));
}

function without(name: string): Readonly<Record<string, readonly number[]>> {
  return Object.fromEntries(Object.entries(tensors).filter(([known]) => known !== name));
}

test('declares every weight of the checkpoint, once', async () => {
  const { decoder, weights, config: read } = await load({ 'config.json': config });
  expect(weights.map(({ name }) => name).sort()).toEqual(Object.keys(tensors).sort());
  expect(decoder).toMatchObject({ vocabSize: V, hiddenSize: D, layerCount: 1, maxPositions: 64, branching: true });
  expect(read.modelType).toBe('llama');
});

test('a tied head is the embedding, stored once', async () => {
  const { weights } = await load(
    { 'config.json': { ...config, tie_word_embeddings: true } },
    without('lm_head.weight'),
  );
  expect(weights.map(({ name }) => name)).not.toContain('lm_head.weight');
  expect(weights).toHaveLength(Object.keys(tensors).length - 1);
});

test('a head that is stored is used, whatever the config says', async () => {
  const { weights } = await load({ 'config.json': { ...config, tie_word_embeddings: true } });
  expect(weights.map(({ name }) => name)).toContain('lm_head.weight');
});

test('tables of rotary positions in older checkpoints are passed over', async () => {
  const older = { ...tensors, [`${layer}self_attn.rotary_emb.inv_freq`]: [E / 2] };
  expect((await load({ 'config.json': config }, older)).weights).toHaveLength(Object.keys(tensors).length);
});

test('heads in the same file are left to whoever reads them', async () => {
  const heads = { ...tensors, 'mtp.fc.weight': [D, 2 * D], 'medusa_head.0.0.linear.weight': [D, D] };
  expect((await load({ 'config.json': config }, heads)).weights).toHaveLength(Object.keys(tensors).length);
  const modules = { ...heads, 'model.layers.1.eh_proj.weight': [D, 2 * D] };
  const file = { 'config.json': { ...config, num_nextn_predict_layers: 1 } };
  expect((await load(file, modules)).weights).toHaveLength(Object.keys(tensors).length);
  await expect(load({ 'config.json': config }, modules)).rejects.toThrow(/never read: model\.layers\.1\.eh_proj/);
});

test('generation_config.json is read beside config.json', async () => {
  const generation = { eos_token_id: [2, 5], do_sample: true, temperature: 0.6 };
  const loaded = await load({ 'config.json': config, 'generation_config.json': generation });
  expect(loaded.generation).toMatchObject({ stopTokens: [2, 5], sampling: { temperature: 0.6 } });
  expect((await load({ 'config.json': config })).generation.stopTokens).toEqual([2]);
});

const whole = { files: { 'config.json': config }, shapes: tensors };
const withConfig = (fields: object) => ({ ...whole, files: { 'config.json': { ...config, ...fields } } });

test.each([
  {
    what: 'an unknown model type',
    ...withConfig({ model_type: 'gru' }),
    code: 'unsupported-model',
    message: modelTypes.join(', '),
  },
  {
    what: 'a property of objects',
    ...withConfig({ model_type: 'constructor' }),
    code: 'unsupported-model',
    message: '"constructor"',
  },
  { what: 'no model type', ...withConfig({ model_type: undefined }), code: 'unsupported-model', message: 'missing' },
  { what: 'no config.json', ...whole, files: {}, code: 'file-missing', message: 'config.json' },
  {
    what: 'a missing weight',
    ...whole,
    shapes: without(`${layer}mlp.up_proj.weight`),
    code: 'weight-names',
    message: 'mlp.up_proj.weight',
  },
  {
    what: 'a missing head',
    ...whole,
    shapes: without('lm_head.weight'),
    code: 'weight-names',
    message: 'lm_head.weight',
  },
  {
    what: 'a weight that nothing reads',
    ...whole,
    shapes: { ...tensors, 'model.norm.bias': [D] },
    code: 'weight-names',
    message: 'norm.bias',
  },
  {
    what: 'a layer too many',
    ...withConfig({ num_hidden_layers: 2 }),
    code: 'weight-names',
    message: 'model.layers.1.',
  },
  {
    what: 'another shape',
    ...withConfig({ intermediate_size: F + 1 }),
    code: 'shape',
    message: 'mlp.gate_proj.weight',
  },
  {
    what: 'biases that are not there',
    ...withConfig({ attention_bias: true }),
    code: 'weight-names',
    message: 'q_proj.bias',
  },
  {
    what: 'a malformed generation_config.json',
    ...whole,
    files: { 'config.json': config, 'generation_config.json': { top_k: 'all' } },
    code: 'model-config',
    message: 'top_k',
  },
])('$what is refused', async ({ files, shapes, code, message }) => {
  await expect(load(files as Readonly<Record<string, object>>, shapes)).rejects.toMatchObject({
    code,
    message: expect.stringContaining(message) as string,
  });
});
