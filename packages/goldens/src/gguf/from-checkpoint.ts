/** A safetensors checkpoint as a GGUF file, laid out as llama.cpp's converter lays it out. */
import {
  type ByteSource,
  type Checkpoint,
  type GgufEntry,
  ggufName,
  ggufPieces,
  type GgufTensorType,
  loadTokenizer,
  openCheckpoint,
  type PlannedGgufTensor,
  widen,
} from '@forerun/checkpoints';
import { type BlockType, float16Bits, isBlockType, parseRope, ropeFrequencies } from '@forerun/tensor';
import { quantizeBlocks } from './quantize-blocks.ts';

type Json = Record<string, unknown>;

/** What a type becomes where rows are no whole blocks of it, as llama.cpp has it. */
const narrower: Partial<Record<GgufTensorType, GgufTensorType>> = { Q4_K: 'Q5_0', Q5_K: 'Q5_1', Q6_K: 'Q8_0' };
const blockValues: Partial<Record<GgufTensorType, number>> = { Q4_K: 256, Q5_K: 256, Q6_K: 256 };

function fitting(type: GgufTensorType, shape: readonly number[]): GgufTensorType {
  if (shape.length < 2) return 'F32';
  if (!isBlockType(type) || shape.at(-1)! % (blockValues[type] ?? 32) === 0) return type;
  return fitting(narrower[type] ?? 'F32', shape);
}

function stored(type: GgufTensorType, values: Float32Array): Uint8Array {
  if (isBlockType(type)) return quantizeBlocks(type satisfies BlockType, values);
  if (type === 'F32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = Uint16Array.from(values, (value, i) => (type === 'F16' ? float16Bits(value) : bits[i]! >>> 16));
  return new Uint8Array(halves.buffer);
}

function fileName(name: string): string {
  const called = ggufName(name);
  if (called === undefined) throw new Error(`No place for ${name} in a GGUF file.`);
  return called;
}

/** The two halves of each head's rows in turn. */
function turned(values: Float32Array, shape: readonly number[], headRows: number): Float32Array {
  const width = values.length / shape[0]!;
  const out = new Float32Array(values.length);
  for (let row = 0; row < shape[0]!; row++) {
    const within = row % headRows;
    const from = row - within + (within >> 1) + (within & 1) * (headRows / 2);
    out.set(values.subarray(from * width, (from + 1) * width), row * width);
  }
  return out;
}

async function valuesOf(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const { shape } = checkpoint.tensors.get(name)!;
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  for await (const { dtype, elementOffset, bytes } of checkpoint.stream([name])) {
    values.set(widen(dtype as 'F32' | 'F16' | 'BF16', bytes), elementOffset);
  }
  return values;
}

/** Rope settings: entries, and factors that lie in tensors. */
function ropeOf(
  config: Json,
  headDim: number,
  put: (key: string, entry: GgufEntry) => void,
): Map<string, Float32Array> {
  const rope = parseRope(config, { headDim });
  const plain = ropeFrequencies({ type: 'default', theta: rope.theta, rotaryWidth: headDim }).radians;
  const speeds = ropeFrequencies(rope);
  put('rope.freq_base', { f32: rope.theta });
  put('rope.dimension_count', { u32: headDim });
  if (rope.type === 'linear' || rope.type === 'yarn') {
    put('rope.scaling.type', { string: rope.type });
    put('rope.scaling.factor', { f32: rope.factor });
    if (rope.type === 'yarn') put('rope.scaling.original_context_length', { u32: rope.originalMaxPositions });
    return new Map();
  }
  if (rope.type === 'llama3')
    return new Map([['rope_freqs.weight', plain.map((speed, i) => speed / speeds.radians[i]!)]]);
  if (rope.type === 'longrope') {
    put('rope.scaling.original_context_length', { u32: rope.originalMaxPositions });
    put('rope.scaling.attn_factor', { f32: speeds.attentionFactor });
    return new Map([
      ['rope_factors_short.weight', Float32Array.from(rope.shortFactors)],
      ['rope_factors_long.weight', Float32Array.from(rope.longFactors)],
    ]);
  }
  if (rope.type !== 'default') throw new Error(`No place for rope type ${rope.type} in a GGUF file.`);
  return new Map();
}

interface TokenizerJson {
  readonly added_tokens?: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
  readonly normalizer?: { readonly type?: string } | null;
  readonly pre_tokenizer?: { readonly type?: string; readonly pretokenizers?: readonly Json[] } | null;
  readonly model: {
    readonly type: string;
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly [string, string])[];
    readonly byte_fallback?: boolean;
  };
}

async function tokenizerEntries(source: ByteSource, metadata: Map<string, GgufEntry>): Promise<void> {
  const read = async (file: string) =>
    JSON.parse(new TextDecoder().decode(await source.readWhole(file, { maxBytes: 64 << 20 }))) as unknown;
  const { model, added_tokens = [], normalizer, pre_tokenizer } = (await read('tokenizer.json')) as TokenizerJson;
  const put = (name: string, entry: GgufEntry) => metadata.set(`tokenizer.ggml.${name}`, entry);
  if (model.type !== 'BPE') throw new Error(`A vocabulary of type ${model.type} is not written.`);
  const special = new Map(added_tokens.map((token) => [token.id, token.special]));
  const ids = new Map([
    ...Object.entries(model.vocab),
    ...added_tokens.map(({ content, id }) => [content, id] as const),
  ]);
  const tokens = [...ids].sort((a, b) => a[1] - b[1]);
  const merges = model.merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' ')));
  const fallsBack = model.byte_fallback === true;
  put('model', { string: fallsBack ? 'llama' : 'gpt2' });
  put('tokens', { strings: tokens.map(([text]) => text) });
  const kind = ([text, id]: readonly [string, number]) =>
    special.has(id) ? (special.get(id) ? 3 : 4) : fallsBack && /^<0x[0-9A-F]{2}>$/.test(text) ? 6 : 1;
  put('token_type', { i32s: tokens.map(kind) });
  if (fallsBack) {
    const rank = new Map(merges.map((merge, index) => [merge.replace(' ', ''), index]));
    put('scores', { f32s: tokens.map(([text]) => -(rank.get(text) ?? 1e6)) });
  } else {
    put('merges', { strings: merges });
    const split = pre_tokenizer?.pretokenizers?.some(({ type }) => type === 'Split') ?? false;
    put('pre', { string: split ? (normalizer?.type === 'NFC' ? 'qwen2' : 'llama-bpe') : 'gpt-2' });
  }
  const tokenizer = await loadTokenizer(source);
  const names = { bos: 'bos', eos: 'eos', pad: 'padding', unk: 'unknown' } as const;
  for (const [role, id] of Object.entries(tokenizer.special)) {
    put(`${names[role as keyof typeof names]}_token_id`, { u32: id });
  }
  put('add_bos_token', { bool: tokenizer.encode('a')[0] === tokenizer.special.bos });
  const config = (await source.exists('tokenizer_config.json')) ? ((await read('tokenizer_config.json')) as Json) : {};
  const template = config['chat_template'];
  if (typeof template === 'string') metadata.set('tokenizer.chat_template', { string: template });
}

/**
 * The bytes of a GGUF file of a llama, mistral, qwen2 or qwen3 checkpoint, in pieces of a tensor each.
 *
 * @param options.type - Type of the matrices; where rows are no whole blocks, the next that fits. Vectors are F32.
 */
export async function* ggufOfCheckpoint(
  source: ByteSource,
  options: { readonly type: GgufTensorType },
): AsyncGenerator<Uint8Array> {
  const checkpoint = await openCheckpoint(source);
  const config = await checkpoint.config();
  const number = (name: string) => config[name] as number;
  const modelType = config['model_type'] as string;
  const architecture = modelType === 'mistral' ? 'llama' : modelType;
  const heads = number('num_attention_heads');
  const headDim = (config['head_dim'] as number | undefined) ?? number('hidden_size') / heads;
  const metadata = new Map<string, GgufEntry>([['general.architecture', { string: architecture }]]);
  const put = (key: string, entry: GgufEntry) => void metadata.set(`${architecture}.${key}`, entry);
  put('context_length', { u32: number('max_position_embeddings') });
  put('embedding_length', { u32: number('hidden_size') });
  put('block_count', { u32: number('num_hidden_layers') });
  put('feed_forward_length', { u32: number('intermediate_size') });
  put('attention.head_count', { u32: heads });
  put('attention.head_count_kv', { u32: number('num_key_value_heads') });
  put('attention.key_length', { u32: headDim });
  put('attention.value_length', { u32: headDim });
  put('attention.layer_norm_rms_epsilon', { f32: number('rms_norm_eps') });
  if (modelType === 'mistral' && config['sliding_window']) {
    put('attention.sliding_window', { u32: number('sliding_window') });
  }
  const factors = ropeOf(config, headDim, put);
  if (await source.exists('tokenizer.json')) await tokenizerEntries(source, metadata);
  const generation = await checkpoint.generationConfig();
  if (generation?.['do_sample'] === true) {
    const wishes = { temperature: 'temp', top_p: 'top_p', min_p: 'min_p' };
    for (const [from, to] of Object.entries(wishes)) {
      const wish = generation[from];
      if (typeof wish === 'number') metadata.set(`general.sampling.${to}`, { f32: wish });
    }
  }
  const tensors: PlannedGgufTensor[] = [...factors].map(([name, values]) => ({
    name,
    type: 'F32',
    shape: [values.length],
    bytes: async () => stored('F32', values),
  }));
  for (const [name, { shape }] of checkpoint.tensors) {
    const type = fitting(options.type, shape);
    const turns = architecture === 'llama' && /self_attn\.[qk]_proj\./.test(name);
    const bytes = async () => {
      const values = await valuesOf(checkpoint, name);
      return stored(type, turns ? turned(values, shape, headDim) : values);
    };
    tensors.push({ name: fileName(name), type, shape, bytes });
  }
  yield* ggufPieces(metadata, tensors);
}

/** The whole file in memory. */
export async function ggufBytes(source: ByteSource, options: { readonly type: GgufTensorType }): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of ggufOfCheckpoint(source, options)) pieces.push(piece);
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
