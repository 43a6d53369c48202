import { readFileSync } from 'node:fs';
import type { Graph, Tensor } from '@forerun/tensor';
import { attention, State, Weight } from '@forerun/tensor';
import { hold, relativeError, testDevice, uploadFloats } from '@forerun/tensor/harness';
import { describe, expect, it } from 'vitest';

interface Case {
  readonly params: {
    readonly scale: number;
    readonly causal?: boolean;
    readonly window?: number;
    readonly softcap?: number;
    readonly prefix?: number;
    readonly segment_starts?: readonly number[];
    readonly empty_rows?: readonly number[];
  };
  readonly tolerance: { readonly relNorm: number; readonly maxAbs: number };
}

interface Golden {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

const folder = new URL('../fixtures/attention/', import.meta.url);
const cases = JSON.parse(readFileSync(new URL('cases.json', folder), 'utf8')) as Record<string, Case>;
const device = await testDevice();

function goldenTensors(name: string): Record<string, Golden> {
  const bytes = new Uint8Array(readFileSync(new URL(`${name}.safetensors`, folder)));
  const headerBytes = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const arrays = { F32: Float32Array, I32: Int32Array, U8: Uint8Array } as const;
  return Object.fromEntries(
    Object.entries(header).map(
      ([
        tensor,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => {
        const data = bytes.slice(8 + headerBytes + begin, 8 + headerBytes + end).buffer;
        return [tensor, { shape, data: new arrays[dtype as keyof typeof arrays](data) }];
      },
    ),
  );
}

/** Batch `batch` of a `[B, heads, T, D]` tensor as `[T, heads, D]`. */
function rowMajor({ shape, data }: Golden, batch: number): { shape: [number, number, number]; data: number[] } {
  const [, heads, rows, dim] = shape as [number, number, number, number];
  const values: number[] = [];
  for (let row = 0; row < rows; row++) {
    for (let head = 0; head < heads; head++) {
      const begin = ((batch * heads + head) * rows + row) * dim;
      values.push(...data.subarray(begin, begin + dim));
    }
  }
  return { shape: [rows, heads, dim], data: values };
}

interface Visible {
  readonly depths: readonly number[];
  readonly begins?: readonly number[];
  readonly length?: number;
  readonly path?: readonly (readonly number[])[];
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Which positions each row of a case sees. */
function visible({ params }: Case, tensors: Record<string, Golden>, [rows, keys]: readonly [number, number]): Visible {
  const { prefix, window, causal = true, segment_starts: segments, empty_rows: empty } = params;
  const { parent, depth, mask } = tensors;
  if (parent && depth && prefix !== undefined) {
    const pathOf = (node: number): number[] => (node < 0 ? [] : [...pathOf(parent.data[node]!), prefix + node]);
    return { length: prefix, depths: upTo(rows).map((row) => prefix + depth.data[row]!), path: upTo(rows).map(pathOf) };
  }
  if (mask && empty) {
    // Any mask is a path of the positions that are seen.
    const path = upTo(rows).map((row) => upTo(keys).filter((key) => mask.data[row * keys + key] === 1));
    return { length: 0, depths: path.map((seen) => (seen.length - 1) >>> 0), path };
  }
  if (segments) {
    return {
      depths: upTo(rows),
      begins: upTo(rows).map((row) => Math.max(...segments.filter((start) => start <= row))),
    };
  }
  if (causal) return { depths: upTo(rows).map((row) => keys - rows + row) };
  if (window) {
    return {
      depths: upTo(rows).map((row) => Math.min(row + window, keys - 1)),
      begins: upTo(rows).map((row) => Math.max(0, row - window)),
    };
  }
  return { depths: upTo(rows).map(() => keys - 1) };
}

/** A case run in chunks of at most `chunk` rows, as `[T, H, D]`. */
async function run(name: string, { batch, chunk }: { batch: number; chunk: number }): Promise<number[]> {
  const { params } = cases[name]!;
  const tensors = goldenTensors(name);
  const [q, k, v] = [tensors['q']!, tensors['k']!, tensors['v']!].map((tensor) => rowMajor(tensor, batch)) as [
    ReturnType<typeof rowMajor>,
    ReturnType<typeof rowMajor>,
    ReturnType<typeof rowMajor>,
  ];
  const keys = new State({ name: 'keys', shape: k.shape, dtype: 'f32' });
  const values = new State({ name: 'values', shape: v.shape, dtype: 'f32' });
  const sinks = tensors['sinks'] && new Weight({ name: 'sinks', shape: tensors['sinks'].shape, format: 'f32' });
  const weights = new Map(sinks ? [[sinks, Array.from(tensors['sinks']!.data)]] : []);
  const [total, heads, dim] = q.shape;
  const seen = visible(cases[name]!, tensors, [total, k.shape[0]]);
  const bidirectional = params.causal === false;
  const out: number[] = [];
  for (let begin = 0; begin < total; begin += chunk) {
    const rows = Math.min(chunk, total - begin);
    const of = <T>(list: readonly T[]) => list.slice(begin, begin + rows);
    const maxDepth = Math.max(1, ...(seen.path ?? []).map((path) => path.length));
    const u32 = (graph: Graph, data: readonly number[], shape = [data.length]): Tensor =>
      graph.constant(Uint32Array.from(data), shape);
    const { outputs } = await hold(device, {
      inputs: {
        q: { shape: [rows, heads, dim], data: q.data.slice(begin * heads * dim, (begin + rows) * heads * dim) },
      },
      body: (t, graph) => ({
        o: attention(
          t.q,
          { keys, values },
          {
            depths: u32(graph, of(seen.depths)),
            count: u32(graph, [rows]),
            length: u32(graph, [seen.length ?? 0]),
            ...(seen.begins ? { begins: u32(graph, of(seen.begins)) } : {}),
            ...(seen.path
              ? {
                  path: u32(
                    graph,
                    of(seen.path).flatMap((path) => upTo(maxDepth).map((at) => path[at] ?? 0)),
                    [rows, maxDepth],
                  ),
                }
              : {}),
          },
          {
            scale: params.scale,
            ...(params.window && !bidirectional ? { window: params.window } : {}),
            ...(params.softcap ? { softcap: params.softcap } : {}),
            ...(sinks ? { sinks } : {}),
          },
        ),
      }),
      states: new Map([
        [keys, k.data],
        [values, v.data],
      ]),
      weights,
      upload: uploadFloats(weights),
      tolerance: 1e-5,
    });
    out.push(...outputs['o']!);
  }
  return out;
}

describe('attention agrees with PyTorch', () => {
  it.each(Object.keys(cases))('%s', async (name) => {
    const golden = goldenTensors(name)['o']!;
    for (let batch = 0; batch < golden.shape[0]!; batch++) {
      const expected = rowMajor(golden, batch);
      for (const chunk of new Set([expected.shape[0], Math.min(expected.shape[0], 40)])) {
        const out = await run(name, { batch, chunk });
        expect(relativeError(out, expected.data), `${chunk} rows at a time`).toBeLessThanOrEqual(
          cases[name]!.tolerance.relNorm,
        );
        expect(Math.max(...out.map((value, i) => Math.abs(value - expected.data[i]!)))).toBeLessThanOrEqual(
          cases[name]!.tolerance.maxAbs,
        );
      }
    }
  });
});
