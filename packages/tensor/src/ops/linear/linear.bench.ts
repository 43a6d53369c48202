/**
 * Time of the matrices of a decoder: chains in the shapes of Qwen3-0.6B and Llama-3.1-8B with norm, gate and residual fused as in a
 * model, random weights. Small matrices in
 * every format are held to their reference first, and a row's bits at every width to those of the row alone; then times are printed.
 *
 * Usage: `node linear.bench.ts [--shapes=qwen,llama] [--formats=q4] [--arithmetics=f32] [--rows=1,2,4,8,16,32,64] [--sweep]`; one JSON
 * object a line. Kernels are those of the choice table, measured first. `--sweep` tries cuts of the decode kernel by words for each matrix
 * and prints the best of each; `sweepLinear` of the harness tries those of every order of sums and arithmetic.
 */
import type { Device } from '../../device/device.ts';
import { requestDevice } from '../../device/device.ts';
import { compile } from '../../compile/compile.ts';
import type { Arithmetic } from '../../compile/lowering.ts';
import { ForerunError } from '../../errors.ts';
import { trace } from '../../graph/graph.ts';
import { defineOperation } from '../../graph/operation.ts';
import type { Tensor } from '../../graph/tensor.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { Weight, weightBytes } from '../../graph/weight.ts';
import { hold } from '../../harness/hold.ts';
import { randomSource } from '../../harness/random.ts';
import { packedUpload, packRandomWeight } from '../../harness/weights.ts';
import { measureBandwidth } from '../../run/bandwidth.ts';
import { Commands } from '../../run/commands.ts';
import { median, profile } from '../../run/profiler.ts';
import type { Program } from '../../run/program.ts';
import { fillRandom } from '../../run/random-weights.ts';
import { deviceChoices } from '../../run/time-choices.ts';
import { WeightStore } from '../../run/weight-store.ts';
import { rmsNorm } from '../rms-norm/rms-norm.ts';
import type { LinearChoice } from './linear-choice.ts';
import { linearChoice, matvecLanes } from './linear-choice.ts';
import { linearDeviceKind } from './linear-device.ts';
import { linear } from './linear.ts';
import { lowerLinear } from './lower-linear.ts';
import type { MatvecCut } from './matvec.wgsl.ts';

interface DecoderShape {
  readonly layers: number;
  readonly hidden: number;
  readonly query: number;
  readonly kv: number;
  readonly mlp: number;
  readonly vocabulary: number;
}

const shapes: Readonly<Record<string, DecoderShape>> = {
  qwen: { layers: 28, hidden: 1024, query: 2048, kv: 1024, mlp: 3072, vocabulary: 151_936 },
  llama: { layers: 32, hidden: 4096, query: 4096, kv: 1024, mlp: 14_336, vocabulary: 128_256 },
  tiny: { layers: 2, hidden: 256, query: 256, kv: 128, mlp: 512, vocabulary: 1000 },
};

function option(name: string, otherwise: string): string {
  const found = process.argv.find((argument) => argument.startsWith(`--${name}=`));
  return found ? found.slice(name.length + 3) : otherwise;
}

const print = (record: object) => console.log(JSON.stringify(record));

/** The matrices of a decoder without its attention: queries go on as if they were what attention gave. */
class Chain {
  readonly #weights = new Map<string, Weight>();
  readonly format: WeightFormat;
  readonly shape: DecoderShape;

  constructor(shape: DecoderShape, format: WeightFormat) {
    this.shape = shape;
    this.format = format;
  }

  #weight(name: string, ...shape: number[]): Weight {
    const known = this.#weights.get(name);
    if (known) return known;
    const made = new Weight({ name, shape, format: shape.length === 1 ? 'f32' : this.format });
    this.#weights.set(name, made);
    return made;
  }

  trace(rows: number) {
    const { layers, hidden, query, kv, mlp, vocabulary } = this.shape;
    return trace((graph) => {
      let x = graph.input('x', [rows, hidden]);
      for (let layer = 0; layer < layers; layer++) {
        const w = (name: string, ...shape: number[]) => this.#weight(`${layer}.${name}`, ...shape);
        const inner = rmsNorm(x, w('norm1', hidden), { epsilon: 1e-6 });
        const q = linear(inner, w('q', query, hidden));
        graph.output(`${layer}.k`, linear(inner, w('k', kv, hidden)));
        graph.output(`${layer}.v`, linear(inner, w('v', kv, hidden)));
        x = x.add(linear(q, w('o', hidden, query)));
        const outer = rmsNorm(x, w('norm2', hidden), { epsilon: 1e-6 });
        const gated = linear(outer, w('gate', mlp, hidden))
          .silu()
          .mul(linear(outer, w('up', mlp, hidden)));
        x = x.add(linear(gated, w('down', hidden, mlp)));
      }
      graph.output('x', x);
      graph.output(
        'logits',
        linear(rmsNorm(x, this.#weight('norm', hidden), { epsilon: 1e-6 }), this.#weight('head', vocabulary, hidden)),
      );
    });
  }
}

function inputs(rows: number, width: number): Float32Array<ArrayBuffer> {
  const random = randomSource(1);
  return Float32Array.from({ length: rows * width }, () => random.normal());
}

async function read(device: Device, program: Program, name: string): Promise<Uint32Array> {
  const commands = new Commands(device).run(program);
  const values = commands.read(program, name);
  commands.submit();
  return new Uint32Array((await values).buffer);
}

/** GPU time of a run in ms: the median of single submits, after the clock has settled. */
async function gpuTime(device: Device, program: Program, repeats = 30): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run < repeats + 5; run++) {
    const commands = new Commands(device, { timed: true }).run(program);
    const time = commands.gpuMs();
    commands.submit();
    if (run >= 5) times.push(await time);
    else await time;
  }
  return median(times);
}

/** Time of a run on the host's clock in ms, runs following each other. */
async function wallTime(device: Device, program: Program, runs = 20): Promise<number> {
  const start = performance.now();
  for (let run = 0; run < runs; run++) new Commands(device).run(program).submit();
  await device.idle();
  return (performance.now() - start) / runs;
}

async function spin(device: Device, program: Program, ms = 700): Promise<void> {
  for (const start = performance.now(); performance.now() - start < ms;) await wallTime(device, program, 5);
}

async function timeChain(
  device: Device,
  name: string,
  settings: { format: WeightFormat; arithmetic: Arithmetic; rows: readonly number[]; bytesPerSecond: number },
) {
  const { format, arithmetic, rows: widths, bytesPerSecond } = settings;
  const choices = await deviceChoices(device);
  const chain = new Chain(shapes[name]!, format);
  const store = new WeightStore(device);
  const data = inputs(Math.max(...widths), chain.shape.hidden);
  let alone: Uint32Array | undefined;
  let single: number | undefined;
  for (const rows of widths) {
    const options = { device, name: `${name} ${format} ${rows}`, weights: store, arithmetic, choices };
    const program = await compile(chain.trace(rows), options);
    if (store.allocate().length > 0) await fillRandom(store, { seed: 1 });
    program.write('x', data.slice(0, rows * chain.shape.hidden));
    const values = await read(device, program, 'x');
    const logits = await read(device, program, 'logits');
    const row = new Uint32Array([
      ...values.subarray(0, chain.shape.hidden),
      ...logits.subarray(0, chain.shape.vocabulary),
    ]);
    alone ??= row;
    const differ = row.reduce((sum, value, i) => sum + Number(value !== alone![i]), 0);
    const floats = new Float32Array(row.buffer);
    if (!floats.every(Number.isFinite) || (rows <= 64 && differ > 0)) {
      throw new ForerunError(
        'measurement',
        `${program.name}: ${differ} of ${row.length} values differ from those of the row alone; no time is worth printing.`,
      );
    }
    await spin(device, program);
    const gpuMs = await gpuTime(device, program);
    single ??= gpuMs;
    const dispatches = await profile(program, { repeats: 7 });
    const classes = new Map<string, { ns: number; count: number; bytes: number; flops: number }>();
    program.dispatches.forEach((dispatch, i) => {
      const key = dispatch.label.replaceAll(/\d+\./g, '');
      const known = classes.get(key) ?? { ns: 0, count: 0, bytes: 0, flops: 0 };
      const [bytes, flops] = [dispatch.bytes as number, dispatch.flops as number];
      classes.set(key, {
        ns: known.ns + dispatches.dispatches[i]!.nanoseconds,
        count: known.count + 1,
        bytes: known.bytes + bytes,
        flops: known.flops + flops,
      });
    });
    print({
      chain: name,
      format,
      arithmetic,
      rows,
      gpuMs: +gpuMs.toFixed(4),
      ratio: +(gpuMs / single).toFixed(2),
      wallMs: +(await wallTime(device, program)).toFixed(3),
      dispatches: program.dispatches.length,
      gbPerS: Math.round(store.byteLength / gpuMs / 1e6),
      ofBandwidth: +(store.byteLength / gpuMs / 1e-3 / bytesPerSecond).toFixed(3),
      classes: Object.fromEntries(
        [...classes].map(([key, { ns, count, bytes, flops }]) => [
          key,
          `${(ns / count / 1e3).toFixed(2)} us, ${Math.round(bytes / ns)} GB/s, ${(flops / ns / 1e3).toFixed(2)} TFLOP/s`,
        ]),
      ),
    });
    program.destroy();
  }
  store.destroy();
}

/** Copies of one matrix, each multiplied with the same rows in the given cut, so that caches do not hold it. */
function cutProgram(
  device: Device,
  store: WeightStore,
  settings: { weights: readonly Weight[]; rows: number; cut: MatvecCut | undefined },
) {
  const { weights, rows, cut } = settings;
  const table = linearChoice(device);
  const choice: LinearChoice = cut ? { ...table, matvec: () => cut, matmul: () => undefined } : table;
  const operation = defineOperation({
    name: 'cut',
    infer: () => [{ shape: [rows, weights[0]!.rows], dtype: 'f32' }],
    reference: () => [],
    lower: (lowering, { operands, outputs }) => {
      const [x, weight] = operands as readonly [Tensor, Weight];
      lowerLinear(lowering, { x, weights: [weight], biases: [undefined], outputs }, choice);
    },
  });
  const graph = trace((traced) => {
    const x = traced.input('x', [rows, weights[0]!.width]);
    weights.forEach((weight, i) => traced.output(`y${i}`, traced.apply(operation, [x, weight], {})[0]!));
  });
  return compile(graph, { device, name: 'cut', weights: store });
}

/** Cuts worth trying for a number of rows. */
function cutsFor(rows: number, lanes: number, subgroups: boolean): MatvecCut[] {
  const cuts: MatvecCut[] = [];
  for (const outputs of [1, 2, 4, 8]) {
    for (const c of [1, 2, 4, 8].filter(
      (count) => count <= rows && 4 * count >= Math.min(rows, 8) && outputs * count <= 32,
    )) {
      for (const workgroup of lanes === 1 ? [32, 64] : [64, 128]) {
        for (const ahead of c === 1 ? [1, 2, 4] : [1, 2]) {
          if (rows <= 2 || ahead === 1 || outputs * c <= 8)
            cuts.push({ lanes, outputs, rows: c, workgroup, ahead, subgroups });
        }
      }
    }
  }
  return cuts;
}

const cutText = ({ lanes, outputs, rows, workgroup, ahead, subgroups }: MatvecCut) =>
  `${lanes} lanes, R ${outputs}, C ${rows}, ${workgroup} wide, ${ahead} ahead${subgroups ? ', subgroups' : ''}`;

async function sweep(
  device: Device,
  name: string,
  settings: { format: WeightFormat; rows: readonly number[] },
): Promise<void> {
  const { hidden, query, kv, mlp, vocabulary } = shapes[name]!;
  const { format } = settings;
  const { kind, subgroupLanes } = linearDeviceKind(device);
  const matrices = [
    ['qkv', query + 2 * kv, hidden],
    ['o', hidden, query],
    ['up', mlp, hidden],
    ['down', hidden, mlp],
    ['head', vocabulary, hidden],
  ] as const;
  for (const [label, outputs, width] of matrices) {
    const bytes = weightBytes(format, outputs, width);
    const copies = Math.max(1, Math.min(16, Math.ceil(150e6 / (bytes.codes + bytes.scales))));
    const weights = Array.from(
      { length: copies },
      (_, i) => new Weight({ name: `${label} ${i}`, shape: [outputs, width], format }),
    );
    const store = new WeightStore(device);
    for (const weight of weights) store.parts(weight);
    store.allocate();
    await fillRandom(store, { seed: 3 });
    const lanes = matvecLanes(kind, format, width);
    const subgroups = lanes > 1 && subgroupLanes >= lanes;
    for (const rows of settings.rows) {
      const cuts = cutsFor(rows, lanes, subgroups);
      if (subgroups)
        cuts.push(
          ...cutsFor(rows, lanes, false).filter(({ outputs: r, rows: c, workgroup }) => r * c * workgroup <= 2048),
        );
      const tried: (MatvecCut | undefined)[] = [undefined, ...cuts];
      const programs = await Promise.all(tried.map((cut) => cutProgram(device, store, { weights, rows, cut })));
      const results: { cut: MatvecCut | undefined; us: number }[] = [];
      await spin(device, programs[0]!, 300);
      for (const [i, program] of programs.entries()) {
        program.write('x', inputs(rows, width));
        results.push({ cut: tried[i], us: (1000 * (await gpuTime(device, program, 9))) / copies });
        program.destroy();
      }
      const [table] = results.splice(0, 1);
      results.sort((a, b) => a.us - b.us);
      const text = ({ cut, us }: { cut: MatvecCut | undefined; us: number }) => `${us.toFixed(2)} us: ${cutText(cut!)}`;
      print({
        sweep: name,
        matrix: label,
        format,
        rows,
        gbPerS: Math.round((bytes.codes + bytes.scales) / results[0]!.us / 1e3),
        tableUs: +table!.us.toFixed(2),
        best: results.slice(0, 4).map(text),
        portable: results
          .filter(({ cut }) => !cut!.subgroups)
          .slice(0, 2)
          .map(text),
        worst: text(results.at(-1)!),
      });
    }
    store.destroy();
  }
}

/** Arithmetics that the device has, and how far they may be from the reference. */
const tolerances: Readonly<Record<Arithmetic, number>> = { f32: 3e-6, f16: 4e-3, i8: 3e-2 };
const able = (device: Device): readonly Arithmetic[] => [
  'f32',
  ...(device.has('shader-f16') ? (['f16'] as const) : []),
  ...(device.hasLanguage('packed_4x8_integer_dot_product') ? (['i8'] as const) : []),
];

/** Holds small matrices in every format to the reference, by the kernels that the table gives. */
async function check(device: Device): Promise<void> {
  for (const format of ['f32', 'f16', 'bf16', 'q8', 'q4'] as const) {
    for (const [m, outputs, width] of [
      [1, 100, 1000],
      [3, 63, 512],
      [8, 40, 100],
      [70, 65, 63],
      [130, 4100, 96],
      [2, 70, 1024],
      [7, 70, 1024],
    ] as const) {
      const packed = packRandomWeight(new Weight({ name: 'w', shape: [outputs, width], format }), randomSource(m));
      const gain = packRandomWeight(new Weight({ name: 'gain', shape: [width], format: 'f32' }), randomSource(m));
      for (const arithmetic of able(device))
        await hold(device, {
          inputs: { x: { shape: [m, width] } },
          body: ({ x }) => ({
            y: linear(x, packed.weight),
            z: linear(rmsNorm(x, gain.weight, { epsilon: 1e-6 }), packed.weight),
          }),
          ...packedUpload([packed, gain]),
          tolerance: tolerances[arithmetic],
          arithmetic,
        });
    }
  }
}

const device = await requestDevice();
await check(device);
const bandwidth = await measureBandwidth(device);
print({ adapter: device.adapter, kind: linearDeviceKind(device), bytesPerSecond: bandwidth.bytesPerSecond });
const rows = option('rows', '1,2,4,8,16,32,64').split(',').map(Number);
for (const name of option('shapes', device.adapter.kind === 'software' ? 'tiny' : 'qwen,llama').split(',')) {
  for (const format of option('formats', 'q4').split(',') as WeightFormat[]) {
    if (process.argv.includes('--sweep')) await sweep(device, name, { format, rows });
    else
      for (const arithmetic of option('arithmetics', 'f32').split(',') as Arithmetic[])
        await timeChain(device, name, { format, arithmetic, rows, bytesPerSecond: bandwidth.bytesPerSecond });
  }
}
device.destroy();
