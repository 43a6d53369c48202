import { ArgumentError, DTypeError, Weight } from '@forerun/tensor';
import { describe, expect, test } from 'vitest';
import { seededBytes, safetensorsFile } from '../../test/write-safetensors.ts';
import { openCheckpoint } from '../checkpoint/open.ts';
import { WeightNameError } from '../errors.ts';
import { memorySource } from '../sources/memory.ts';
import { loadWeights, type WeightSink } from './load.ts';
import { nearestNames } from './nearest.ts';
import type { SourceDType, WeightPolicy } from './weights.ts';

const parts = [
  { name: 'model.embed_tokens.weight', dtype: 'BF16', shape: [10, 64] },
  { name: 'model.layers.0.self_attn.q_proj.weight', dtype: 'F16', shape: [64, 64] },
  { name: 'model.layers.0.self_attn.q_proj.bias', dtype: 'F16', shape: [64] },
  { name: 'model.layers.1.self_attn.q_proj.weight', dtype: 'F32', shape: [64, 64] },
  { name: 'model.layers.10.odd.weight', dtype: 'BF16', shape: [3000, 5] },
  { name: 'model.norm.weight', dtype: 'BF16', shape: [64] },
  { name: 'model.rotary_emb.inv_freq', dtype: 'F32', shape: [8] },
  { name: 'model.position_ids', dtype: 'I64', shape: [2] },
];
const width = { F32: 4, F16: 2, BF16: 2, I64: 8 } as Record<string, number>;
const stored = parts.map((part, index) => ({
  ...part,
  bytes: seededBytes(
    part.shape.reduce((product, size) => product * size, width[part.dtype]!),
    index,
  ),
}));
const source = memorySource(new Map([['model.safetensors', safetensorsFile(stored)]]));
const open = (weights: WeightPolicy) => openCheckpoint(source, { weights });

describe('Weights', () => {
  test('a path is made of the names in the checkpoint', async () => {
    const w = (await open('as-is')).weights();
    const layer = w.at('model').at('layers').at(0);
    expect(layer.path).toBe('model.layers.0');
    const weight = layer.at('self_attn').at('q_proj').tensor('weight', [64, 64]);
    expect(weight).toBeInstanceOf(Weight);
    expect(weight).toMatchObject({ name: 'model.layers.0.self_attn.q_proj.weight', shape: [64, 64], format: 'f16' });
  });

  test('has: tensors and what has tensors below, by whole segments', async () => {
    const w = (await open('as-is')).weights();
    expect(w.has('model')).toBe(true);
    expect(w.at('model').at('layers').has(1)).toBe(true);
    expect(w.at('model').at('layers').has(2)).toBe(false);
    expect(w.at('model').at('layers').at(0).at('self_attn').at('q_proj').has('bias')).toBe(true);
    expect(w.at('model').at('layers').at(1).at('self_attn').at('q_proj').has('bias')).toBe(false);
    expect(w.at('mod').has('el')).toBe(false);
    expect(w.has('lm_head')).toBe(false);
  });

  test.each([
    ['as-is', ['bf16', 'f16', 'f32', 'f32']],
    ['f32', ['f32', 'f32', 'f32', 'f32']],
    ['f16', ['f16', 'f16', 'f16', 'f32']],
    ['bf16', ['bf16', 'bf16', 'bf16', 'f32']],
    ['q8', ['q8', 'q8', 'q8', 'f32']],
    ['q4', ['q4', 'q4', 'q4', 'f32']],
  ] as const)('%s gives matrices that format, and vectors f32', async (policy, formats) => {
    const model = (await open(policy)).weights().at('model');
    const q = (layer: number) => model.at('layers').at(layer).at('self_attn').at('q_proj');
    const read = [
      model.at('embed_tokens').tensor('weight', [10, 64]),
      q(0).tensor('weight', [64, 64]),
      q(1).tensor('weight', [64, 64]),
      q(0).tensor('bias', [64]),
    ];
    expect(read.map(({ format }) => format)).toEqual(formats);
  });

  test('one name is one object, whatever the path of views to it; another format is an error', async () => {
    const w = (await open('q4')).weights();
    const embedding = w.at('model').at('embed_tokens').tensor('weight', [10, 64]);
    expect(w.at('model').at('embed_tokens').tensor('weight', [10, 64])).toBe(embedding);
    expect(w.tensor('model.embed_tokens.weight', [10, 64])).toBe(embedding);
    expect(() => w.tensor('model.embed_tokens.weight', [10, 64], { format: 'f32' })).toThrow(ArgumentError);
    expect(w.tensor('model.layers.10.odd.weight', [3000, 5], { format: 'f32' }).format).toBe('f32');
    expect(() => w.tensor('model.position_ids', [2])).toThrow(DTypeError);
  });

  test('finish names everything that is missing and everything that is unread', async () => {
    const w = (await open('as-is')).weights();
    w.tensor('model.embed_tokens.weight', [10, 64]);
    w.tensor('model.norms.weight', [64]);
    w.tensor('model.layers.0.self_attn.k_proj.weight', [64, 64]);
    let message = '';
    try {
      w.finish({ ignore: [/rotary_emb\.inv_freq$/, 'model.position_ids'] });
    } catch (cause) {
      expect(cause).toBeInstanceOf(WeightNameError);
      message = (cause as Error).message;
    }
    expect(message).toContain('Missing in the checkpoint: model.norms.weight (nearest: model.norm.weight');
    expect(message).toContain(
      'Missing in the checkpoint: model.layers.0.self_attn.k_proj.weight (nearest: model.layers.0.self_attn.q_proj.weight',
    );
    expect(message).toContain('never read: model.layers.0.self_attn.q_proj.weight, ');
    expect(message).not.toContain('inv_freq');
    expect(message).not.toContain('position_ids');
  });

  test('finish of a view answers for that view, and gives its weights', async () => {
    const w = (await open('as-is')).weights();
    const layer = w.at('model').at('layers').at(1);
    const weight = layer.at('self_attn').at('q_proj').tensor('weight', [64, 64]);
    w.tensor('model.norm.weight', [64]);
    expect(layer.finish()).toEqual([weight]);
    expect(() => w.finish()).toThrow('layers.10.odd.weight');
  });

  test('a global pattern gives the same answer for every name', async () => {
    const w = (await open('as-is')).weights();
    expect(w.finish({ ignore: [/^model\./g] })).toEqual([]);
  });
});

describe('loadWeights', () => {
  const collect = () => {
    const written: { weight: Weight; source: SourceDType; elementOffset: number; bytes: Uint8Array }[] = [];
    let finished = 0;
    const sink: WeightSink = {
      write: async (weight, dtype, elementOffset, bytes) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        written.push({ weight, source: dtype, elementOffset, bytes: bytes.slice() });
      },
      finish: async () => {
        finished++;
      },
    };
    return { sink, written, finished: () => finished };
  };

  test('every byte arrives once, cut at multiples of 64 elements or at rows', async () => {
    const checkpoint = await open('q8');
    const weights = stored
      .filter(({ dtype }) => dtype !== 'I64')
      .map(({ name, shape }) => new Weight({ name, shape, format: 'f32' }));
    const { sink, written, finished } = collect();
    await loadWeights(checkpoint, weights, sink, { sliceBytes: 4096 });
    expect(finished()).toBe(1);
    for (const weight of weights) {
      const pieces = written.filter((piece) => piece.weight === weight);
      const tensor = stored.find(({ name }) => name === weight.name)!;
      expect(Buffer.compare(Buffer.concat(pieces.map(({ bytes }) => bytes)), tensor.bytes)).toBe(0);
      const odd = weight.name.includes('odd');
      expect(pieces.length).toBeGreaterThanOrEqual(odd ? 2 : 1);
      for (const { elementOffset, source: dtype } of pieces) {
        expect(dtype).toBe(tensor.dtype);
        expect(elementOffset % (odd ? 10 : 64)).toBe(0);
      }
    }
  });

  test('two weights of one name are both written, the tensor being read once', async () => {
    const checkpoint = await open('as-is');
    const name = 'model.norm.weight';
    const weights = [0, 1].map(() => new Weight({ name, shape: [64], format: 'f32' }));
    const { sink, written } = collect();
    const totals: number[] = [];
    await loadWeights(checkpoint, [...weights, weights[0]!], sink, {
      onProgress: ({ totalBytes }) => totals.push(totalBytes),
    });
    expect(written.map(({ weight }) => weight)).toEqual(weights);
    expect(totals).toEqual([128]);
  });

  test('an aborted load does not finish the sink; a failing sink is the error', async () => {
    const checkpoint = await open('as-is');
    const weights = [new Weight({ name: 'model.norm.weight', shape: [64], format: 'f32' })];
    const { sink, finished } = collect();
    const controller = new AbortController();
    const aborted = loadWeights(
      checkpoint,
      weights,
      { ...sink, write: async () => controller.abort() },
      { signal: controller.signal },
    );
    await expect(aborted).rejects.toMatchObject({ code: 'aborted' });
    const failing = loadWeights(checkpoint, weights, {
      ...sink,
      write: () => Promise.reject(new Error('device gone')),
    });
    await expect(failing).rejects.toThrow('device gone');
    expect(finished()).toBe(0);
  });
});

test('nearest names: shared segments first, then letters; nothing when nothing is like it', () => {
  const names = ['model.layers.0.mlp.up_proj.weight', 'model.layers.1.mlp.up_proj.weight', 'lm_head.weight'];
  expect(nearestNames('model.layers.1.mlp.up_prj.weight', names)[0]).toBe('model.layers.1.mlp.up_proj.weight');
  expect(nearestNames('zzzzzz', names)).toEqual([]);
});
