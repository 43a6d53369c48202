/** Holds GGUF files made of golden checkpoints to the golden files of those. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import {
  type ByteSource,
  folderSource,
  loadWeights,
  memorySource,
  openCheckpoint,
  type SourceDType,
  widen,
} from '@forerun/checkpoints';
import { loadModel } from '@forerun/models';
import { WeightStore, WeightUpload } from '@forerun/tensor';
import { relativeError, testDevice } from '@forerun/tensor/harness';
import { checkFolder, checkLine, ForwardRunner, goldenFile, readGolden } from 'forerun/check';
import { describe, expect, test } from 'vitest';
import { ggufBytes } from './gguf/from-checkpoint.ts';

const folder = fileURLToPath(new URL('../fixtures/models/', import.meta.url));
const names = ['llama', 'llama-biases', 'llama-longrope', 'llama-tied', 'mistral-swa', 'qwen2', 'qwen3'];

async function ggufSource(name: string, type: Parameters<typeof ggufBytes>[1]['type']): Promise<ByteSource> {
  const [bytes, golden] = await Promise.all([
    ggufBytes(folderSource(folder + name), { type }),
    readFile(`${folder}${name}/${goldenFile}`),
  ]);
  return memorySource(
    new Map([
      [`${name}.gguf`, bytes],
      [goldenFile, golden],
    ]),
  );
}

test.each(names)('%s in F32 computes what its safetensors do', async (name) => {
  const result = await checkFolder(await ggufSource(name, 'F32'), await testDevice());
  console.info(`${name}: ${checkLine(result)}`);
  expect(result).toMatchObject({ greedy: { matched: 40, total: 40 }, chunksOk: true, ok: true });
});

/** Logits of the golden's tokens, with blocks kept as they are or dequantised first. */
async function logitsOf(source: ByteSource, weights: 'as-is' | 'f32') {
  const device = await testDevice();
  const checkpoint = await openCheckpoint(source, { weights });
  const { decoder, weights: declared } = await loadModel(checkpoint);
  const golden = await readGolden(source, decoder.vocabSize);
  const store = new WeightStore(device);
  const { length } = golden.inputIds;
  const runner = await ForwardRunner.compile(
    device,
    { decoder, weights: store },
    { chunkSizes: [length, 7], capacityTokens: length },
  );
  try {
    await loadWeights(checkpoint, declared, new WeightUpload(store));
    const whole = await runner.append(golden.inputIds, length);
    runner.reset();
    const chunks = await runner.append(golden.inputIds, 7);
    return { whole, chunks, golden: golden.logits, formats: new Set(declared.map(({ format }) => format)) };
  } finally {
    runner.destroy();
    store.destroy();
  }
}

/** How far the values of one matrix are off those that it was made of. */
async function weightError(source: ByteSource): Promise<number> {
  const name = 'model.layers.1.self_attn.k_proj.weight';
  const [made, original] = await Promise.all(
    [source, folderSource(`${folder}llama`)].map(async (place) => {
      const pieces: number[] = [];
      for await (const { dtype, bytes } of (await openCheckpoint(place)).stream([name])) {
        pieces.push(...widen(dtype as SourceDType, bytes));
      }
      return Float32Array.from(pieces);
    }),
  );
  return relativeError(made!, original!);
}

describe.each([
  ['Q8_0', 'q8', 0.01],
  ['Q4_0', 'q4', 0.12],
  ['Q4_1', 'q4_1', 0.12],
  ['Q5_0', 'q5_0', 0.06],
  ['Q5_1', 'q5_1', 0.06],
] as const)('llama in %s', (type, format, bound) => {
  test('computes with its blocks what it computes with their values, as near to the original as they are', async () => {
    const source = await ggufSource('llama', type);
    const blocks = await logitsOf(source, 'as-is');
    const values = await logitsOf(source, 'f32');
    expect(blocks.formats).toContain(format);
    expect(relativeError(blocks.whole, values.whole)).toBeLessThan(1e-5);
    expect(relativeError(blocks.chunks, values.whole)).toBeLessThan(1e-5);
    const errors = { weights: await weightError(source), logits: relativeError(blocks.whole, blocks.golden) };
    console.info(`llama in ${type}, off the safetensors`, errors);
    expect(errors.weights).toBeGreaterThan(0);
    expect(errors.weights).toBeLessThan(bound);
    // Two layers with random weights pass an error on several times over.
    expect(errors.logits).toBeLessThan(8 * errors.weights);
  });
});
