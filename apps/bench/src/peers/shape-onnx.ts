/**
 * An ONNX decoder of a model's shape with random 4-bit matrices, of the operators that exports for browsers use: MatMulNBits in blocks of 32,
 * GroupQueryAttention over a growing cache, SkipSimplifiedLayerNormalization.
 */
import { type ConfigJson, declaredCheckpoint } from '@forerun/checkpoints';
import { type DecoderConfig, loadModel } from '@forerun/models';
import { float16Bits, parseRope, ropeFrequencies } from '@forerun/tensor';
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { OnnxGraph, type OnnxType } from './onnx-model.ts';

/** Element type of activations, scales and cache. */
export type OnnxActivations = 'f16' | 'f32';

const block = 32;
const contextTokens = 4096;
const alignment = 4096;
const dataFile = 'model.onnx.data';
const microsoft = 'com.microsoft';

/** Appends the bytes of constants to the file beside the model. */
class DataFile {
  readonly #stream: WriteStream;
  #at = 0;

  constructor(path: string) {
    this.#stream = createWriteStream(path);
  }

  /** `length` bytes: a pool, over and over. */
  async append(length: number, pool: Uint8Array): Promise<{ offset: number; length: number; file: string }> {
    const gap = (alignment - (this.#at % alignment)) % alignment;
    await this.#write(new Uint8Array(gap));
    const offset = this.#at;
    for (let left = length; left > 0; left -= pool.length)
      await this.#write(pool.subarray(0, Math.min(left, pool.length)));
    return { offset, length, file: dataFile };
  }

  async #write(part: Uint8Array): Promise<void> {
    this.#at += part.length;
    if (!this.#stream.write(part)) await once(this.#stream, 'drain');
  }

  async close(): Promise<void> {
    this.#stream.end();
    await once(this.#stream, 'close');
  }
}

function floats(values: Float32Array, type: OnnxActivations): Uint8Array {
  if (type === 'f32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return new Uint8Array(Uint16Array.from(values, float16Bits).buffer);
}

function noise(length: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  });
}

/** Builds the graph of one decoder and writes its constants as it goes. */
class DecoderGraph {
  readonly graph = new OnnxGraph();
  readonly #data: DataFile;
  readonly #config: DecoderConfig;
  readonly #type: OnnxActivations;
  readonly #epsilon: number;
  readonly #codes = Uint8Array.from(noise(1 << 20), (value) => value * 256);
  readonly #uniform = noise(1 << 16);
  readonly #scales = new Map<number, Uint8Array>();

  constructor(data: DataFile, json: ConfigJson, parts: { config: DecoderConfig; type: OnnxActivations }) {
    this.#data = data;
    this.#config = parts.config;
    this.#type = parts.type;
    this.#epsilon = Number(json['rms_norm_eps']);
  }

  get #elementBytes(): number {
    return this.#type === 'f16' ? 2 : 4;
  }

  async #stored(
    name: string,
    shape: readonly number[],
    pool: Uint8Array,
    type: OnnxType = this.#type,
  ): Promise<string> {
    const size = type === 'u8' ? 1 : this.#elementBytes;
    const length = shape.reduce((product, each) => product * each, size);
    return this.graph.constant(name, { type, shape }, await this.#data.append(length, pool));
  }

  async #matrix(x: string, name: string, [N, K]: readonly [number, number]): Promise<string> {
    const scales = this.#scalesOf(K);
    const codes = await this.#stored(`${name}.codes`, [N, K / block, block / 2], this.#codes, 'u8');
    const scaled = await this.#stored(`${name}.scales`, [N * (K / block)], scales);
    const attributes = { K, N, bits: 4, block_size: block, accuracy_level: 4 };
    return this.graph.node('MatMulNBits', [x, codes, scaled], [`${name}.y`], { domain: microsoft, attributes });
  }

  /** Scales that give a matrix of K columns a deviation of about 1 / sqrt(K). */
  #scalesOf(K: number): Uint8Array {
    const scale = 1 / (4.6 * Math.sqrt(K));
    const known =
      this.#scales.get(K) ??
      floats(
        this.#uniform.map((value) => scale * (0.5 + value)),
        this.#type,
      );
    this.#scales.set(K, known);
    return known;
  }

  async #ones(name: string, size: number): Promise<string> {
    return this.#stored(name, [size], floats(new Float32Array(size).fill(1), this.#type));
  }

  async #norm(x: string, name: string, size: number): Promise<string> {
    const attributes = { axis: -1, epsilon: { float: this.#epsilon }, stash_type: 1 };
    const weight = await this.#ones(`${name}.weight`, size);
    return this.graph.node('SimplifiedLayerNormalization', [x, weight], [name], { attributes });
  }

  /** Norm of `x + y`; gives the sum too. */
  async #addNorm(x: string, y: string, name: string): Promise<{ normed: string; sum: string }> {
    const weight = await this.#ones(`${name}.weight`, this.#config.hiddenSize);
    const sum = `${name}.sum`;
    const attributes = { epsilon: { float: this.#epsilon } };
    this.graph.node('SkipSimplifiedLayerNormalization', [x, y, weight], [name, '', '', sum], {
      domain: microsoft,
      attributes,
    });
    return { normed: name, sum };
  }

  #integers(name: string, values: readonly number[], shape = [values.length]): string {
    const raw = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    return this.graph.constant(name, { type: 'i64', shape }, raw);
  }

  /** Norms of the heads of queries or keys, where the model has them. */
  async #headNorm(x: string, name: string, heads: number): Promise<string> {
    const { headDim: E } = this.#config;
    const apart = this.graph.node('Reshape', [x, 'to heads'], [`${name}.heads`]);
    const normed = await this.#norm(apart, `${name}.norm`, E);
    return this.graph.node('Reshape', [normed, this.#integers(`${name}.whole`, [0, -1, heads * E])], [`${name}.flat`]);
  }

  async build(json: ConfigJson): Promise<Uint8Array> {
    const { graph } = this;
    const c = this.#config;
    const {
      hiddenSize: D,
      intermediateSize: F,
      numAttentionHeads: H,
      numKeyValueHeads: K,
      headDim: E,
      vocabSize: V,
    } = c;
    const ids = graph.input('input_ids', 'i64', [1, 'S']);
    const mask = graph.input('attention_mask', 'i64', [1, 'T']);
    this.#integers('to heads', [0, -1, E]);
    const one = this.#integers('one', [1]);
    const counted = graph.node('ReduceSum', [mask, one], ['counted'], { attributes: { keepdims: 1 } });
    const last = graph.node('Sub', [counted, one], ['last']);
    const lengths = graph.node('Cast', [last], ['lengths'], { attributes: { to: 6 } });
    const shape = graph.node('Shape', [mask], ['mask shape']);
    const total = graph.node('Gather', [shape, this.#integers('second', [1], [])], ['total']);
    const totals = graph.node('Cast', [total], ['totals'], { attributes: { to: 6 } });
    const { radians } = ropeFrequencies(parseRope(json, { headDim: E }));
    const turned = (turn: (angle: number) => number) =>
      floats(
        Float32Array.from({ length: contextTokens * radians.length }, (_, i) =>
          turn(Math.floor(i / radians.length) * radians[i % radians.length]!),
        ),
        this.#type,
      );
    const cos = await this.#stored('cos', [contextTokens, radians.length], turned(Math.cos));
    const sin = await this.#stored('sin', [contextTokens, radians.length], turned(Math.sin));
    const table = await this.#stored(
      'embedding',
      [V, D],
      floats(
        this.#uniform.map((value) => 0.04 * (value - 0.5)),
        this.#type,
      ),
    );
    let x = graph.node('Gather', [table, ids], ['embedded']);
    let normed = await this.#norm(x, 'first norm', D);
    for (let layer = 0; layer < c.numHiddenLayers; layer++) {
      const at = (name: string) => `layer ${layer} ${name}`;
      let q = await this.#matrix(normed, at('q'), [H * E, D]);
      let k = await this.#matrix(normed, at('k'), [K * E, D]);
      const v = await this.#matrix(normed, at('v'), [K * E, D]);
      if (json['model_type'] === 'qwen3') {
        q = await this.#headNorm(q, at('q'), H);
        k = await this.#headNorm(k, at('k'), K);
      }
      const past = ['key', 'value'].map((name) =>
        graph.input(`past_key_values.${layer}.${name}`, this.#type, [1, K, 'P', E]),
      );
      const present = ['key', 'value'].map((name) => `present.${layer}.${name}`);
      for (const name of present) graph.output(name, this.#type, [1, K, 'T', E]);
      const attributes = {
        num_heads: H,
        kv_num_heads: K,
        do_rotary: 1,
        rotary_interleaved: 0,
        scale: { float: E ** -0.5 },
      };
      const operands = [q, k, v, ...past, lengths, totals, cos, sin];
      const attended = graph.node('GroupQueryAttention', operands, [at('attended'), ...present], {
        domain: microsoft,
        attributes,
      });
      const middle = await this.#addNorm(x, await this.#matrix(attended, at('o'), [D, H * E]), at('middle'));
      const gate = await this.#matrix(middle.normed, at('gate'), [F, D]);
      const up = await this.#matrix(middle.normed, at('up'), [F, D]);
      const opened = graph.node('Sigmoid', [gate], [at('opened')]);
      const silu = graph.node('Mul', [gate, opened], [at('silu')]);
      const gated = graph.node('Mul', [silu, up], [at('gated')]);
      const end = await this.#addNorm(middle.sum, await this.#matrix(gated, at('down'), [D, F]), at('end'));
      ({ normed, sum: x } = end);
    }
    const logits = await this.#matrix(normed, 'head', [V, D]);
    graph.node('Cast', [logits], ['logits'], { attributes: { to: 1 } });
    graph.output('logits', 'f32', [1, 'S', V]);
    return graph.model('random decoder');
  }
}

/**
 * Writes `model.onnx` and the data beside it into a folder.
 *
 * @returns Path of the model.
 */
export async function writeShapeOnnx(json: ConfigJson, folder: string, type: OnnxActivations): Promise<string> {
  await mkdir(folder, { recursive: true });
  const { config } = await loadModel(declaredCheckpoint(json));
  const data = new DataFile(join(folder, dataFile));
  const path = join(folder, 'model.onnx');
  await writeFile(path, await new DecoderGraph(data, json, { config, type }).build(json));
  await data.close();
  return path;
}
