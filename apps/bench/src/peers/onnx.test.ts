import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { presets } from 'forerun/bench';
import { afterAll, describe, expect, it } from 'vitest';
import { OnnxGraph } from './onnx-model.ts';
import { writeShapeOnnx } from './shape-onnx.ts';

/** Fields of a protobuf message: number, and a number or bytes. */
function* fields(message: Uint8Array): Generator<readonly [field: number, value: number | Uint8Array]> {
  let at = 0;
  const varint = (): number => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(BigInt.asIntN(64, value));
    }
  };
  while (at < message.length) {
    const tag = varint();
    const [field, wire] = [tag >> 3, tag & 7];
    if (wire === 0) yield [field, varint()];
    else {
      const length = wire === 5 ? 4 : varint();
      if (wire !== 2 && wire !== 5) throw new Error(`wire type ${wire}`);
      yield [field, message.subarray(at, at + length)];
      at += length;
    }
  }
  if (at !== message.length) throw new Error('the message is cut off');
}

const all = (message: Uint8Array, field: number) =>
  [...fields(message)].flatMap(([number, value]) => (number === field ? [value as Uint8Array] : []));
const text = (message: Uint8Array, field: number) => new TextDecoder().decode(all(message, field)[0]);

const folder = mkdtempSync(join(tmpdir(), 'forerun-onnx-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('OnnxGraph', () => {
  it('puts nodes, attributes and constants on the wire', () => {
    const graph = new OnnxGraph();
    graph.constant('c', { type: 'i64', shape: [1] }, new Uint8Array(8));
    graph.node('Op', ['x', 'c'], ['y', '', 'z'], {
      domain: 'd',
      attributes: { axis: -1, scale: { float: 1 }, half: 0.5 },
    });
    const model = graph.model('m');
    const [whole] = all(model, 7);
    const [node] = all(whole!, 1);
    expect([text(node!, 4), text(node!, 7)]).toEqual(['Op', 'd']);
    expect(all(node!, 1)).toHaveLength(2);
    expect(all(node!, 2).map(({ length }) => length)).toEqual([1, 0, 1]);
    const [axis, scale, half] = all(node!, 5);
    expect([...fields(axis!)].slice(1)).toEqual([
      [3, -1],
      [20, 2],
    ]);
    const float = (message: Uint8Array) => new DataView(all(message, 2)[0]!.slice().buffer).getFloat32(0, true);
    expect([float(scale!), float(half!)]).toEqual([1, 0.5]);
    const [constant] = all(whole!, 5);
    expect([...fields(constant!)].map(([field]) => field)).toEqual([1, 2, 8, 9]);
  });
});

describe('an ONNX decoder of a shape', () => {
  for (const [preset, perLayer] of [
    ['qwen3-0.6b', 19],
    ['llama-3.1-8b', 13],
  ] as const) {
    it(`has its layers, and constants that lie in the file: ${preset}`, async () => {
      const smaller = { num_hidden_layers: 3, hidden_size: 128, intermediate_size: 256, vocab_size: 512, head_dim: 32 };
      const json = { ...presets[preset], ...smaller, bos_token_id: 0, eos_token_id: 1 };
      const path = await writeShapeOnnx(json, join(folder, preset), 'f16');
      const [graph] = all(readFileSync(path), 7);
      const types = all(graph!, 1).map((node) => text(node, 4));
      const count = (type: string) => types.filter((one) => one === type).length;
      expect(count('GroupQueryAttention')).toBe(3);
      expect(count('MatMulNBits')).toBe(3 * 7 + 1);
      // Around the layers: what makes lengths of the mask, embedding, first norm, head and its cast.
      expect(types).toHaveLength(3 * perLayer + 10);
      const { size } = statSync(join(folder, preset, 'model.onnx.data'));
      let last = 0;
      for (const constant of all(graph!, 5)) {
        const entries = new Map(all(constant, 13).map((entry) => [text(entry, 1), text(entry, 2)]));
        if (entries.size === 0) continue;
        const [offset, length] = [Number(entries.get('offset')), Number(entries.get('length'))];
        expect(offset % 4096).toBe(0);
        expect(offset).toBeGreaterThanOrEqual(last);
        last = offset + length;
      }
      expect(last).toBe(size);
    });
  }
});
