import { ArgumentError } from '@forerun/tensor';
import { expect, test } from 'vitest';
import { AbortedError } from '../errors.ts';
import type { ByteReader, ByteSource } from '../sources/byte-source.ts';
import { memorySource } from '../sources/memory.ts';
import { safetensorsFile, seededBytes, text } from '../../test/write-safetensors.ts';
import { openCheckpoint } from './open.ts';
import type { LoadProgress } from './stream.ts';

const tensors = {
  'one.safetensors': [
    { name: 'b.matrix', dtype: 'F32', shape: [100, 50], bytes: seededBytes(20_000, 1) },
    { name: 'a.vector', dtype: 'BF16', shape: [33], bytes: seededBytes(66, 2) },
    { name: 'empty', dtype: 'F32', shape: [0], bytes: new Uint8Array(0) },
  ],
  'two.safetensors': [
    { name: 'c.scalar', dtype: 'I64', shape: [], bytes: seededBytes(8, 3) },
    { name: 'c.unwanted', dtype: 'U8', shape: [3_000_000], bytes: seededBytes(3_000_000, 4) },
    { name: 'c.last', dtype: 'F16', shape: [64, 64], bytes: seededBytes(8192, 5) },
  ],
};
const stored = new Map(Object.values(tensors).flatMap((list) => list.map((tensor) => [tensor.name, tensor.bytes])));

function sharded(): ByteSource {
  const map = Object.fromEntries(
    Object.entries(tensors).flatMap(([file, list]) => list.map(({ name }) => [name, file])),
  );
  const files = Object.entries(tensors).map(([file, list]) => [file, safetensorsFile(list)] as const);
  return memorySource(new Map([...files, ['model.safetensors.index.json', text(JSON.stringify({ weight_map: map }))]]));
}

/** Counts what is open, and can make a read fail or wait. */
function watched(source: ByteSource, beforeRead: (count: number) => Promise<void> = async () => {}) {
  const seen = { open: 0, opened: [] as string[], reads: 0 };
  const spy: ByteSource = {
    ...source,
    open: async (path, begin, end, options) => {
      const reader = await source.open(path, begin, end, options);
      seen.open++;
      seen.opened.push(`${path} ${end - begin}`);
      let closed = false;
      const wrapped: ByteReader = {
        read: async (target) => {
          await beforeRead(++seen.reads);
          await reader.read(target);
        },
        close: async () => {
          if (!closed) seen.open--;
          closed = true;
          await reader.close();
        },
      };
      return wrapped;
    },
  };
  return { spy, seen };
}

test('slices of any size put together are the tensors, in file order, cut at multiples of 64 elements', async () => {
  const checkpoint = await openCheckpoint(sharded());
  expect([...checkpoint.tensors.keys()]).toEqual(['b.matrix', 'a.vector', 'empty', 'c.scalar', 'c.unwanted', 'c.last']);
  for (const sliceBytes of [4096, 5000, 8192, 65_536, 64 << 20]) {
    const got = new Map<string, number[]>();
    const order: string[] = [];
    for await (const { name, elementOffset, bytes, dtype } of checkpoint.stream(
      ['c.last', 'a.vector', 'b.matrix', 'empty', 'c.scalar'],
      { sliceBytes },
    )) {
      expect(bytes.length).toBeLessThanOrEqual(sliceBytes);
      expect(elementOffset % 64).toBe(0);
      expect(dtype).toBe(checkpoint.tensors.get(name)!.dtype);
      const collected = got.get(name) ?? [];
      expect(collected.length).toBe(elementOffset * (dtype === 'F32' ? 4 : dtype === 'I64' ? 8 : 2));
      collected.push(...bytes);
      got.set(name, collected);
      if (order.at(-1) !== name) order.push(name);
    }
    expect(order).toEqual(['b.matrix', 'a.vector', 'c.scalar', 'c.last']);
    for (const [name, bytes] of got) expect(Uint8Array.from(bytes)).toEqual(stored.get(name));
  }
});

test('near tensors share one opened range; a far one is not read over', async () => {
  const { spy, seen } = watched(sharded());
  const checkpoint = await openCheckpoint(spy);
  seen.opened.length = 0;
  for await (const slice of checkpoint.stream(['b.matrix', 'a.vector', 'c.scalar', 'c.last']))
    expect(slice.bytes.length).toBeGreaterThan(0);
  expect(seen.opened).toEqual(['one.safetensors 20066', 'two.safetensors 8', 'two.safetensors 8192']);
  expect(seen.open).toBe(0);
});

test('the next slice is read while one is used, and no more than that', async () => {
  const { spy, seen } = watched(sharded());
  const checkpoint = await openCheckpoint(spy);
  const slices = checkpoint.stream(['b.matrix'], { sliceBytes: 4096 });
  seen.reads = 0;
  await slices.next();
  await expect.poll(() => seen.reads).toBe(2);
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(seen.reads).toBe(2);
  await slices.return();
  expect(seen.open).toBe(0);
});

test('a slice keeps its bytes until the next one is asked for', async () => {
  const checkpoint = await openCheckpoint(sharded());
  for await (const { elementOffset, bytes } of checkpoint.stream(['b.matrix'], { sliceBytes: 4096 })) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const begin = elementOffset * 4;
    expect(Uint8Array.from(bytes)).toEqual(stored.get('b.matrix')!.slice(begin, begin + bytes.length));
  }
});

test('progress counts bytes and files, and ends at the total', async () => {
  const checkpoint = await openCheckpoint(sharded());
  const progress: LoadProgress[] = [];
  const slices = checkpoint.stream(['b.matrix', 'c.last'], {
    sliceBytes: 8192,
    onProgress: (event) => progress.push(event),
  });
  for await (const slice of slices) expect(slice.name).toMatch(/^[bc]/);
  expect(progress.map(({ loadedBytes }) => loadedBytes)).toEqual([8192, 16_384, 20_000, 28_192]);
  expect(progress.every(({ totalBytes }) => totalBytes === 28_192)).toBe(true);
  expect(progress[2]).toMatchObject({ name: 'b.matrix', files: { current: 'one.safetensors', done: 1, total: 2 } });
  expect(progress.at(-1)).toMatchObject({ name: 'c.last', files: { current: 'two.safetensors', done: 2, total: 2 } });
});

test.each([1, 2, 3, 4, 5])(
  'an abort after slice %i throws the typed error, and every handle is closed',
  async (count) => {
    const { spy, seen } = watched(sharded());
    const checkpoint = await openCheckpoint(spy);
    const controller = new AbortController();
    let slices = 0;
    const run = (async () => {
      for await (const slice of checkpoint.stream(['b.matrix'], { sliceBytes: 4096, signal: controller.signal })) {
        expect(slice.name).toBe('b.matrix');
        if (++slices === count) controller.abort(new Error('enough'));
      }
    })();
    await expect(run).rejects.toBeInstanceOf(AbortedError);
    expect(slices).toBe(count);
    expect(seen.open).toBe(0);
  },
);

test('an abort while a read waits', async () => {
  const controller = new AbortController();
  const { spy, seen } = watched(sharded(), async (count) => {
    if (count > 6) setTimeout(() => controller.abort(), 5);
    if (count > 6) await new Promise((resolve) => setTimeout(resolve, 30));
  });
  const checkpoint = await openCheckpoint(spy);
  const run = (async () => {
    for await (const slice of checkpoint.stream(['b.matrix'], { sliceBytes: 4096, signal: controller.signal }))
      expect(slice.name).toBe('b.matrix');
  })();
  await expect(run).rejects.toBeInstanceOf(AbortedError);
  expect(seen.open).toBe(0);
});

test('a failing read is the error of the stream, also when it failed ahead of time', async () => {
  const broken = new Error('disk on fire');
  const { spy, seen } = watched(sharded(), async (count) => {
    if (count === 6) throw broken;
  });
  const checkpoint = await openCheckpoint(spy);
  seen.reads = 4;
  const slices = checkpoint.stream(['b.matrix'], { sliceBytes: 4096 });
  await slices.next();
  await new Promise((resolve) => setTimeout(resolve, 20));
  await expect(slices.next()).rejects.toBe(broken);
  expect(seen.open).toBe(0);
});

test('a row that does not fit a slice is an argument error', async () => {
  const checkpoint = await openCheckpoint(sharded());
  const slices = checkpoint.stream(['b.matrix'], { sliceBytes: 4096, granule: () => 1025 });
  await expect(slices.next()).rejects.toBeInstanceOf(ArgumentError);
});

test('opening can be aborted', async () => {
  await expect(openCheckpoint(sharded(), { signal: AbortSignal.abort() })).rejects.toBeInstanceOf(AbortedError);
});
