/**
 * Holds every golden decoder to its file: on the device, through the references in float64, and pass against pass.
 */
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { folderSource, openCheckpoint, type Checkpoint, loadWeights, readHeader, widen } from '@forerun/checkpoints';
import { loadModel } from '@forerun/models';
import { interpret, trace, type Weight, WeightStore, WeightUpload } from '@forerun/tensor';
import { relativeError, testDevice } from '@forerun/tensor/harness';
import { checkFolder, checkLine, chunkInputs, ForwardRunner, readGolden, traceChunk } from 'forerun/check';
import { describe, expect, test } from 'vitest';

const folder = fileURLToPath(new URL('../fixtures/models/', import.meta.url));
const names = readdirSync(folder);

async function open(name: string) {
  const checkpoint = await openCheckpoint(folderSource(folder + name), { weights: 'f32' });
  return { checkpoint, ...(await loadModel(checkpoint)) };
}

/** Every weight in float64. */
async function widened(checkpoint: Checkpoint, weights: readonly Weight[]): Promise<Map<string, Float64Array>> {
  const values = new Map(weights.map(({ name, shape }) => [name, new Float64Array(shape.reduce((a, b) => a * b, 1))]));
  for await (const { name, dtype, elementOffset, bytes } of checkpoint.stream(values.keys())) {
    values.get(name)!.set(widen(dtype as 'F32' | 'F16' | 'BF16', bytes), elementOffset);
  }
  return values;
}

async function goldenTensor(checkpoint: Checkpoint, name: string): Promise<Float32Array> {
  const { entries } = await readHeader(checkpoint.source, 'golden.safetensors');
  const { begin, end } = entries.find((entry) => entry.name === name)!;
  return widen('F32', await checkpoint.source.read('golden.safetensors', begin, end));
}

test('there are goldens of every model type', async () => {
  const types = await Promise.all(names.map(async (name) => (await open(name)).config.modelType));
  expect([...new Set(types)].sort()).toEqual(['lfm2', 'llama', 'mistral', 'olmo2', 'qwen2', 'qwen3']);
});

describe.each(names)('%s', (name) => {
  test('agrees on the device: one pass, chunks, token by token, greedy', async () => {
    const result = await checkFolder(folder + name, await testDevice());
    console.info(checkLine(result));
    expect(result.logitsError).toBeLessThan(1e-5);
    for (const { logitsError } of result.chunks) expect(logitsError).toBeLessThan(1e-5);
    expect(result).toMatchObject({ greedy: { matched: 40, total: 40 }, chunksOk: true, ok: true });
  });

  test('agrees in float64, residual streams included', async () => {
    const { checkpoint, decoder, weights } = await open(name);
    const golden = await readGolden(checkpoint.source, decoder.vocabSize);
    const values = await widened(checkpoint, weights);
    const length = golden.inputIds.length;
    const state = decoder.state(length, { rollbackTokens: 0 });
    const graph = traceChunk(decoder, state, length, { taps: [1] });
    const outputs = interpret(graph, {
      inputs: chunkInputs(golden.inputIds, length, { start: 0, span: length }),
      weights: (weight) => values.get(weight.name)!,
    });
    const errors = {
      logits: relativeError(outputs['logits']!.data, golden.logits),
      normed: relativeError(outputs['normed']!.data, await goldenTensor(checkpoint, 'hidden_last')),
    };
    console.info(`${name}: float64 against golden`, errors);
    expect(errors.logits).toBeLessThan(1e-6);
    expect(errors.normed).toBeLessThan(1e-6);
    // With one layer, what comes after it is stored only after the final norm.
    if (decoder.layerCount > 1) {
      const first = await goldenTensor(checkpoint, 'hidden_first_block');
      expect(relativeError(outputs['tap 1']!.data, first)).toBeLessThan(1e-6);
    }
  });
});

test('a row has the same bits in every chunk size of the decode path, and nearly so in one pass', async () => {
  const device = await testDevice();
  const { checkpoint, decoder, weights } = await open('qwen3');
  const { inputIds } = await readGolden(checkpoint.source, decoder.vocabSize);
  const store = new WeightStore(device);
  const chunkSizes = [1, 3, 32, 64, inputIds.length];
  const runner = await ForwardRunner.compile(
    device,
    { decoder, weights: store },
    { chunkSizes, capacityTokens: inputIds.length },
  );
  await loadWeights(checkpoint, weights, new WeightUpload(store));
  const passes: Float32Array[] = [];
  for (const size of chunkSizes) {
    runner.reset();
    passes.push(await runner.append(inputIds, size));
  }
  const [alone, ...others] = passes;
  const whole = others.pop()!;
  for (const other of others) expect(other).toEqual(alone);
  expect(relativeError(whole, alone!)).toBeLessThan(5e-6);
  runner.destroy();
  store.destroy();
});

test('layers may run in parts, from embeddings, with the same result', async () => {
  const { checkpoint, decoder, weights } = await open('llama');
  const values = await widened(checkpoint, weights);
  const tokens = Uint32Array.of(5, 17, 80, 3, 200);
  const run = (split: boolean): Float64Array => {
    const state = decoder.state(8, { rollbackTokens: 0 });
    const graph = trace((traced) => {
      const positions = traced.input('positions', [5], 'u32');
      const rows = {
        inputs: traced.input('tokens', [5], 'u32'),
        positions,
        depths: positions,
        slots: positions,
        spans: traced.input('spans', [5], 'u32'),
        count: traced.input('count', [1], 'u32'),
        length: traced.input('length', [1], 'u32'),
      };
      const lower = decoder.forward(rows, state, { layers: [0, split ? 1 : 2] }).hidden;
      const upper = split ? decoder.forward({ ...rows, inputs: lower }, state, { layers: [1, 2] }).hidden : lower;
      traced.output('hidden', upper);
    });
    const inputs = chunkInputs(tokens, 5, { start: 0, span: 5 });
    return interpret(graph, { inputs, weights: (weight) => values.get(weight.name)! })['hidden']!.data;
  };
  expect(run(true)).toEqual(run(false));
});

test('a state of another decoder, layers and taps that are not there are refused', async () => {
  const [one, other] = [await open('llama'), await open('llama')];
  const own = one.decoder.state(8, { rollbackTokens: 0 });
  expect(() => traceChunk(one.decoder, other.decoder.state(8, { rollbackTokens: 0 }), 1)).toThrow(
    expect.objectContaining({ code: 'mismatched-parts' }) as Error,
  );
  expect(() => traceChunk(one.decoder, own, 1, { taps: [3] })).toThrow(
    expect.objectContaining({ code: 'argument' }) as Error,
  );
});
