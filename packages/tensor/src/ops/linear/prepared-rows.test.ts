import { describe, expect, it } from 'vitest';
import { compile } from '../../compile/compile.ts';
import type { Arithmetic, Lowering } from '../../compile/lowering.ts';
import { trace } from '../../graph/graph.ts';
import { defineOperation } from '../../graph/operation.ts';
import { Weight } from '../../graph/weight.ts';
import { packedUpload, packRandomWeight, randomSource, testDevice } from '../../harness/index.ts';
import { defineKernel, read } from '../../kernel/define-kernel.ts';
import { Commands } from '../../run/commands.ts';
import { WeightStore } from '../../run/weight-store.ts';
import { prepareRowsKernel } from './prepare-rows.wgsl.ts';
import type { RowForm, UnitTile } from './prepared-rows.wgsl.ts';
import {
  keptQuadWgsl,
  preparedRowBytes,
  rowBindings,
  rowUnit,
  tileWriter,
  tileWriterBytes,
} from './prepared-rows.wgsl.ts';

const device = await testDevice();
const able: Readonly<Record<Arithmetic, boolean>> = {
  f32: true,
  f16: device.has('shader-f16'),
  i8: device.hasLanguage('packed_4x8_integer_dot_product'),
};
for (const [name, has] of Object.entries(able))
  if (!has) console.info(`Not run here: writing prepared rows in ${name}.`);

const [rows, width] = [3, 224] as const;

/** Rows of `x`, copied tile by tile to workgroup memory and written from there. */
const tileKernel = ({ arithmetic, norm }: RowForm) =>
  defineKernel({
    name: `write-tiles-${arithmetic}`,
    bindings: { x: read('f32'), ...rowBindings({ norm }) },
    features: arithmetic === 'f16' ? ['shader-f16'] : [],
    wgsl: ({ form, tile }: { readonly form: RowForm; readonly tile: UnitTile }) => {
      const values = tile.units * rowUnit[form.arithmetic];
      return /* wgsl */ `
var<workgroup> kept: array<f32, ${tile.rows * values}>;
${keptQuadWgsl}
${tileWriter(form, tile)}
@compute @workgroup_size(${tile.threads})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let firstRow = workgroup.y * ${tile.rows}u;
  for (var i = local; i < ${tile.rows * values}u; i += ${tile.threads}u) {
    let from_ = (firstRow + i / ${values}u) * ${width}u + workgroup.x * ${values}u + i % ${values}u;
    kept[i] = x[min(from_, ${rows * width - 1}u)];
  }
  prepareTile(firstRow, ${rows}u, workgroup.x * ${tile.units}u, local);
}`;
    },
  });

/** Words of the rows as a dispatch of `lower` prepares them. */
async function written(x: Float32Array<ArrayBuffer>, form: RowForm, tile?: UnitTile): Promise<readonly number[]> {
  const gain = packRandomWeight(new Weight({ name: 'gain', shape: [width], format: 'f32' }), randomSource(11));
  const operation = defineOperation({
    name: 'written-rows',
    infer: () => [{ shape: [rows, preparedRowBytes(form) / 4], dtype: 'u32' }],
    reference: () => [],
    lower(lowering: Lowering, node) {
      const kernel = tile ? tileKernel(form) : prepareRowsKernel(form);
      const units = form.width / rowUnit[form.arithmetic];
      lowering.dispatch(
        kernel as never,
        {
          constants: (tile ? { form, tile } : form) as never,
          bindings: {
            x: lowering.tensor(node.operands[0] as never),
            prepared: lowering.tensor(node.outputs[0]!),
            ...(form.norm ? { preparedGain: lowering.weight(gain.weight)[0]!.codes } : {}),
          },
          workgroups: tile ? [Math.ceil(units / tile.units), Math.ceil(rows / tile.rows), 1] : [rows, 1, 1],
          label: 'written rows',
          bytes: 0,
          flops: 0,
        } as never,
      );
    },
  });
  const graph = trace((traced) =>
    traced.output('y', traced.apply(operation, [traced.input('x', [rows, width]), gain.weight], {})[0]!),
  );
  const store = new WeightStore(device);
  const program = await compile(graph, { device, name: 'written', weights: store });
  try {
    store.allocate();
    if (form.norm) await packedUpload([gain]).upload(store);
    program.write('x', x);
    const y = await device.scoped(() => {
      const commands = new Commands(device).run(program);
      const words = commands.read(program, 'y');
      commands.submit();
      return words as Promise<Uint32Array>;
    });
    return [...y];
  } finally {
    store.destroy();
    program.destroy();
  }
}

describe('prepared rows that a workgroup writes together', () => {
  const random = randomSource(4);
  const x = Float32Array.from({ length: rows * width }, () => random.normal());
  x.fill(0, 32, 64);
  x[100] = NaN;
  x[width + 7] = -300;
  for (const arithmetic of (['f32', 'f16', 'i8'] as const).filter((name) => able[name])) {
    for (const normed of [false, true]) {
      it(`${arithmetic}${normed ? ', behind a norm' : ''}: have the bits of those written unit by unit`, async () => {
        const norm = normed ? { epsilon: 0, offset: 1, gainRow: 0, prepared: false } : undefined;
        const form: RowForm = { arithmetic, lanes: 4, width, norm };
        const expected = await written(x, form);
        expect(expected.some((word) => word !== 0)).toBe(true);
        for (const tile of [
          { rows: 1, units: 1, threads: 32 },
          // The last tile of a row, and of rows, is not whole; more quads than invocations.
          { rows: 2, units: 4, threads: 32 },
          { rows: 2, units: 3, threads: 128 },
        ]) {
          expect(await written(x, form, tile), JSON.stringify(tile)).toEqual(expected);
        }
      });
    }
  }

  it('take a quarter of the memory of their values besides, where invocations find a maximum together', () => {
    const of = (arithmetic: Arithmetic) => tileWriterBytes({ arithmetic, lanes: 32, width, norm: undefined }, 256);
    expect([of('f32'), of('f16'), of('i8')]).toEqual([0, 0, 256]);
  });
});
