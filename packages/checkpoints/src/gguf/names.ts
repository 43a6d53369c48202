/** Names of tensors outside of layers, and of those within `blk.<n>.`, as checkpoints of transformers call them. */
const outer: Readonly<Record<string, string>> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
};

const inner: Readonly<Record<string, string>> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  attn_q_norm: 'self_attn.q_norm',
  attn_k_norm: 'self_attn.k_norm',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

/** Tensors that belong to the configuration: what each rotary pair's wavelength is multiplied by. */
export const ropeFactorNames = {
  always: 'rope_freqs.weight',
  long: 'rope_factors_long.weight',
  short: 'rope_factors_short.weight',
} as const;

/** The name of a tensor as checkpoints of transformers have it; the file's own where none belongs to it. */
export function checkpointName(name: string): string {
  const [, layer, part, kind] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const table = layer === undefined ? outer : inner;
  if (part === undefined || kind === undefined || !Object.hasOwn(table, part)) return name;
  const place = layer === undefined ? '' : `model.layers.${Number(layer)}.`;
  return `${place}${table[part]!}.${kind}`;
}

const inverted = (table: Readonly<Record<string, string>>) =>
  new Map(Object.entries(table).map(([file, checkpoint]) => [checkpoint, file]));
const [outerNames, innerNames] = [inverted(outer), inverted(inner)];

/** The name that a GGUF file gives a tensor of a llama-like checkpoint of transformers; undefined where it has none. */
export function ggufName(name: string): string | undefined {
  const [, layer, part, kind] = /^(?:model\.layers\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(name) ?? [];
  const called = (layer === undefined ? outerNames : innerNames).get(part ?? '');
  if (called === undefined) return undefined;
  return layer === undefined ? `${called}.${kind}` : `blk.${layer}.${called}.${kind}`;
}

/** Whether a tensor's rows, those of a head each, lie in the order that llama.cpp turns neighbouring rows in. */
export function hasTurnedRows(architecture: string, name: string): boolean {
  return architecture === 'llama' && /^blk\.\d+\.attn_[qk]\.(?:weight|bias)$/.test(name);
}
