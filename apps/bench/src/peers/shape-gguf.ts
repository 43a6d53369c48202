/** A GGUF file of a model's shape whose blocks are random: the time of decoding does not depend on what they say. */
import {
  type ConfigJson,
  declaredCheckpoint,
  type GgufEntry,
  ggufName,
  ggufPieces,
  type PlannedGgufTensor,
} from '@forerun/checkpoints';
import { type DecoderConfig, loadModel } from '@forerun/models';
import { ArgumentError, float16Bits, parseRope, ropeFrequencies } from '@forerun/tensor';
import { createWriteStream } from 'node:fs';
import { once } from 'node:events';

/** Bytes of a block of Q4_0: an f16 scale and 32 values of 4 bits. */
const blockBytes = 18;
const poolBlocks = 1 << 16;

/** Blocks of random values whose scale gives matrices of K columns a deviation of about 1 / sqrt(K). */
function randomBlocks(columns: number): Uint8Array<ArrayBuffer> {
  const pool = new Uint8Array(poolBlocks * blockBytes);
  const view = new DataView(pool.buffer);
  const scale = float16Bits(1 / (4.61 * Math.sqrt(columns)));
  let state = 1;
  for (let at = 0; at + 4 <= pool.length; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    view.setUint32(at, (state ^ (state >>> 16)) >>> 0, true);
  }
  for (let at = 0; at < pool.length; at += blockBytes) view.setUint16(at, scale, true);
  return pool;
}

function filled(length: number, pool: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += pool.length) bytes.set(pool.subarray(0, Math.min(pool.length, length - at)), at);
  return bytes;
}

/** A vocabulary that no text was ever split by: 256 bytes, fillers, and an end token. */
function vocabulary(size: number): ReadonlyMap<string, GgufEntry> {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const printable = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  let next = 256;
  const alphabet = bytes.map((byte) => String.fromCodePoint(printable(byte) ? byte : next++));
  const end = size - 1;
  const tokens = Array.from({ length: size }, (_, id) => (id === end ? '<|end|>' : (alphabet[id] ?? `<filler ${id}>`)));
  return new Map<string, GgufEntry>([
    ['tokenizer.ggml.model', { string: 'gpt2' }],
    ['tokenizer.ggml.pre', { string: 'gpt-2' }],
    ['tokenizer.ggml.tokens', { strings: tokens }],
    ['tokenizer.ggml.token_type', { i32s: tokens.map((_, id) => (id === end ? 3 : 1)) }],
    ['tokenizer.ggml.merges', { strings: [`${alphabet[104]} ${alphabet[105]}`] }],
    ['tokenizer.ggml.bos_token_id', { u32: end }],
    ['tokenizer.ggml.eos_token_id', { u32: end }],
    ['tokenizer.ggml.add_bos_token', { bool: false }],
  ]);
}

function metadataOf(json: ConfigJson, c: DecoderConfig): Map<string, GgufEntry> {
  const architecture = String(json['model_type']);
  if (architecture !== 'llama' && architecture !== 'qwen3') {
    throw new ArgumentError(
      `A GGUF file of random blocks is made for llama and qwen3, got model_type ${architecture}.`,
    );
  }
  const at = (name: string, entry: GgufEntry) => [`${architecture}.${name}`, entry] as const;
  return new Map<string, GgufEntry>([
    ['general.architecture', { string: architecture }],
    ['general.name', { string: 'random blocks' }],
    ['general.file_type', { u32: 2 }],
    ['general.quantization_version', { u32: 2 }],
    at('context_length', { u32: Number(json['max_position_embeddings']) }),
    at('embedding_length', { u32: c.hiddenSize }),
    at('block_count', { u32: c.numHiddenLayers }),
    at('feed_forward_length', { u32: c.intermediateSize }),
    at('attention.head_count', { u32: c.numAttentionHeads }),
    at('attention.head_count_kv', { u32: c.numKeyValueHeads }),
    at('attention.key_length', { u32: c.headDim }),
    at('attention.value_length', { u32: c.headDim }),
    at('attention.layer_norm_rms_epsilon', { f32: Number(json['rms_norm_eps']) }),
    at('rope.dimension_count', { u32: c.headDim }),
    at('rope.freq_base', { f32: Number(json['rope_theta']) }),
    at('vocab_size', { u32: c.vocabSize }),
    ...vocabulary(c.vocabSize),
  ]);
}

/** What llama.cpp divides the speeds of rotary pairs by, where they are not the plain ones. */
function ropeFactors(json: ConfigJson, headDim: number): PlannedGgufTensor[] {
  const rope = parseRope(json, { headDim });
  if (rope.type !== 'llama3') return [];
  const plain = ropeFrequencies({ type: 'default', theta: rope.theta, rotaryWidth: headDim }).radians;
  const scaled = ropeFrequencies(rope).radians;
  const factors = Float32Array.from(plain, (speed, pair) => speed / scaled[pair]!);
  const bytes = async () => new Uint8Array(factors.buffer);
  return [{ name: 'rope_freqs.weight', type: 'F32', shape: [factors.length], bytes }];
}

/**
 * The pieces of a GGUF file for a configuration: every matrix in Q4_0, the output's too, vectors of ones in F32.
 *
 * @throws {@link ArgumentError} for an architecture other than llama and qwen3; the errors of `loadModel`.
 */
export async function* shapeGguf(json: ConfigJson): AsyncGenerator<Uint8Array> {
  const { weights, config } = await loadModel(declaredCheckpoint(json));
  const pools = new Map<number, Uint8Array>();
  const tensors = weights.map(({ name, shape }): PlannedGgufTensor => {
    const elements = shape.reduce((product, size) => product * size, 1);
    const columns = shape.at(-1)!;
    const matrix = shape.length === 2;
    const bytes = async () => {
      if (!matrix) return new Uint8Array(new Float32Array(elements).fill(1).buffer);
      const pool = pools.get(columns) ?? randomBlocks(columns);
      pools.set(columns, pool);
      return filled((elements / 32) * blockBytes, pool);
    };
    const called = ggufName(name);
    if (called === undefined) throw new ArgumentError(`GGUF files have no name for ${name}.`);
    return { name: called, type: matrix ? 'Q4_0' : 'F32', shape, bytes };
  });
  yield* ggufPieces(metadataOf(json, config), [...ropeFactors(json, config.headDim), ...tensors]);
}

/** Writes it to a file; returns its bytes. */
export async function writeShapeGguf(json: ConfigJson, path: string): Promise<number> {
  const file = createWriteStream(path);
  let bytes = 0;
  for await (const piece of shapeGguf(json)) {
    bytes += piece.length;
    if (!file.write(piece)) await once(file, 'drain');
  }
  file.end();
  await once(file, 'close');
  return bytes;
}
