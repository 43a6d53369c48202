/**
 * Loads a sharded checkpoint of random weights from a folder and reports the host memory that it took:
 * `node --conditions @forerun/source apps/bench/src/load-memory.ts [GB] [format]`.
 */
import { folderSource, loadWeights, openCheckpoint, type WeightPolicy } from '@forerun/checkpoints';
import { loadModel } from '@forerun/models';
import { requestDevice, WeightStore, WeightUpload } from '@forerun/tensor';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';

const [gigabytes = '2', format = 'as-is'] = process.argv.slice(2);
const D = 2048;
const F = 6144;
const V = 32_000;
const layerBytes = 2 * (4 * D * D + 3 * D * F + 2 * D);
const layers = Math.max(1, Math.round((Number(gigabytes) * 1e9 - 4 * V * D) / layerBytes));
const config = {
  model_type: 'llama',
  hidden_size: D,
  intermediate_size: F,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  num_hidden_layers: layers,
  vocab_size: V,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-6,
  rope_theta: 10_000,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  torch_dtype: 'bfloat16',
};

function layerTensors(layer: number): [string, number[]][] {
  const at = (name: string) => `model.layers.${layer}.${name}.weight`;
  return [
    [at('input_layernorm'), [D]],
    [at('post_attention_layernorm'), [D]],
    ...['q_proj', 'k_proj', 'v_proj', 'o_proj'].map((name): [string, number[]] => [at(`self_attn.${name}`), [D, D]]),
    [at('mlp.gate_proj'), [F, D]],
    [at('mlp.up_proj'), [F, D]],
    [at('mlp.down_proj'), [D, F]],
  ];
}

/** Small random bf16 numbers, the same block over and over. */
const block = new Uint16Array(1 << 20);
let state = 1;
for (let i = 0; i < block.length; i++) {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  block[i] = ((state >>> 16) & 0x807f) | 0x3c00;
}

async function writeShard(path: string, tensors: readonly [string, number[]][]): Promise<void> {
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const [name, shape] of tensors) {
    const bytes = shape.reduce((a, b) => a * b, 2);
    header[name] = { dtype: 'BF16', shape, data_offsets: [end, (end += bytes)] };
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  const file = createWriteStream(path);
  file.write(length);
  file.write(text);
  for (let left = end; left > 0; left -= block.byteLength) {
    const part = new Uint8Array(block.buffer, 0, Math.min(left, block.byteLength));
    if (!file.write(part)) await once(file, 'drain');
  }
  file.end();
  await once(file, 'close');
}

const folder = await mkdtemp(join(tmpdir(), 'forerun-load-'));
try {
  const shards: [string, number[]][][] = [
    [
      ['model.embed_tokens.weight', [V, D]],
      ['lm_head.weight', [V, D]],
      ['model.norm.weight', [D]],
    ],
  ];
  for (let layer = 0; layer < layers; layer += 4) {
    shards.push(Array.from({ length: Math.min(4, layers - layer) }, (_, i) => layerTensors(layer + i)).flat());
  }
  const weightMap: Record<string, string> = {};
  for (const [index, tensors] of shards.entries()) {
    const name = `model-${String(index + 1).padStart(5, '0')}-of-${String(shards.length).padStart(5, '0')}.safetensors`;
    await writeShard(join(folder, name), tensors);
    for (const [tensor] of tensors) weightMap[tensor] = name;
  }
  await writeFile(
    join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ metadata: {}, weight_map: weightMap }),
  );
  await writeFile(join(folder, 'config.json'), JSON.stringify(config));

  const device = await requestDevice();
  const held = () => {
    const { heapUsed, external, arrayBuffers } = process.memoryUsage();
    return heapUsed + external + arrayBuffers;
  };
  const before = held();
  const residentBefore = process.memoryUsage().rss;
  let [peak, residentPeak] = [before, residentBefore];
  const sample = () => {
    peak = Math.max(peak, held());
    residentPeak = Math.max(residentPeak, process.memoryUsage().rss);
  };
  const timer = setInterval(sample, 10);
  const start = performance.now();
  const checkpoint = await openCheckpoint(folderSource(folder), { weights: format as WeightPolicy });
  const model = await loadModel(checkpoint);
  const store = new WeightStore(device);
  for (const weight of model.weights) store.parts(weight);
  await device.scoped(() => store.allocate());
  await loadWeights(checkpoint, model.weights, new WeightUpload(store), { onProgress: sample });
  await device.idle();
  clearInterval(timer);
  const seconds = (performance.now() - start) / 1000;
  const report = {
    adapter: device.adapter,
    fileBytes: Object.keys(weightMap).length && layers * layerBytes + 4 * V * D,
    deviceBytes: store.byteLength,
    format,
    seconds,
    hostPeakBytes: peak - before,
    residentPeakBytes: residentPeak - residentBefore,
  };
  process.stdout.write(`${JSON.stringify(report)}\n`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
process.exit(0);
