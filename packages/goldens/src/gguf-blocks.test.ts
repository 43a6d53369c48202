/** Holds GGUF's blocks to the values that the format's reference computes, bit for bit: in this language and on the device. */
import { readFile } from 'node:fs/promises';
import { parseHeader } from '@forerun/checkpoints';
import {
  blockLayouts,
  type BlockType,
  Commands,
  compile,
  dequantizeBlocks,
  embedding,
  formatOfBlocks,
  trace,
  Weight,
  WeightStore,
  WeightUpload,
} from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { describe, expect, test } from 'vitest';

const file = new Uint8Array(await readFile(new URL('../fixtures/gguf/blocks.safetensors', import.meta.url)));
const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
const { entries } = parseHeader(file.subarray(8, 8 + headerBytes), file.length, 'blocks.safetensors');
const device = await testDevice();

function bytesOf(name: string): Uint8Array<ArrayBuffer> {
  const { begin, end } = entries.find((entry) => entry.name === name)!;
  return file.slice(begin, end);
}

describe.each(Object.keys(formatOfBlocks) as BlockType[])('%s', (type) => {
  const blocks = bytesOf(`${type}.blocks`);
  const expected = new Uint32Array(bytesOf(`${type}.values`).buffer);

  test('dequantised', () => {
    expect(expected.length).toBe(8192);
    expect(new Uint32Array(dequantizeBlocks(type, blocks).buffer)).toEqual(expected);
  });

  test('read by a kernel', async () => {
    const format = formatOfBlocks[type];
    const [rows, width] = [expected.length / 1024, 1024];
    expect(width % blockLayouts[format].values).toBe(0);
    const table = new Weight({ name: type, shape: [rows, width], format });
    const graph = trace((traced) => traced.output('y', embedding(table, traced.input('tokens', [rows], 'u32'))));
    const store = new WeightStore(device);
    const program = await compile(graph, { device, name: type, weights: store });
    store.allocate();
    const upload = new WeightUpload(store);
    await upload.write(table, type, 0, blocks);
    await upload.finish();
    program.write(
      'tokens',
      Uint32Array.from({ length: rows }, (_, row) => row),
    );
    const values = await device.scoped(() => {
      const commands = new Commands(device).run(program);
      const read = commands.read(program, 'y');
      commands.submit();
      return read;
    });
    expect(new Uint32Array((values as Float32Array<ArrayBuffer>).buffer)).toEqual(expected);
    store.destroy();
    program.destroy();
  });
});
