import type { Engine } from '@forerun/decoding';
import type { Arithmetic, Weight, WeightStore } from '@forerun/tensor';
import { Commands, compile, embedding, linear, trace } from '@forerun/tensor';

/** How far a kernel's sample was from float64. */
export interface KernelCheck {
  readonly weight: string;
  readonly shape: readonly number[];
  readonly relativeError: number;
}

/** Whether what is timed also computes right. */
export interface OutputCheck {
  readonly ok: boolean;
  /** One matrix of each shape, held to float64 sums over the values that are really on the device. */
  readonly kernels: readonly KernelCheck[];
  /** Widths whose rows have the bits that they have alone, of those asked for. */
  readonly exactWidths: readonly number[];
  readonly askedWidths: readonly number[];
}

const sampledRows = 32;
/** Allowed error of f32 sums over rounded weights, of products and short sums in f16, of rows rounded to int8. */
const tolerances: Readonly<Record<Arithmetic, number>> = { f32: 1e-5, f16: 2e-3, i8: 2e-2 };

/** Products of one random row with `sampledRows` rows of a matrix on the device, against float64. */
async function checkMatrix({ device, arithmetic }: Engine, store: WeightStore, weight: Weight): Promise<KernelCheck> {
  const [N, K] = [weight.rows, weight.width];
  const rows = Uint32Array.from({ length: sampledRows }, (_, i) => Math.floor((i * (N - 1)) / (sampledRows - 1)));
  const graph = trace((traced) => {
    traced.output('product', linear(traced.input('x', [1, K]), weight));
    traced.output('values', embedding(weight, traced.constant(rows)));
  });
  const program = await compile(graph, { device, name: `check of ${weight.name}`, weights: store, arithmetic });
  const x = Float32Array.from({ length: K }, (_, i) => Math.sin(i * 12.9898 + 1) * 1.5);
  try {
    program.write('x', x);
    const commands = new Commands(device).run(program);
    const reads = Promise.all([commands.read(program, 'product'), commands.read(program, 'values')]);
    commands.submit();
    const [product, values] = await reads;
    let difference = 0;
    let norm = 0;
    rows.forEach((row, i) => {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += x[k]! * values[i * K + k]!;
      difference += (product[row]! - sum) ** 2;
      norm += sum ** 2;
    });
    return { weight: weight.name, shape: weight.shape, relativeError: Math.sqrt(difference / norm) };
  } finally {
    program.destroy();
  }
}

/** Holds a sample of every matrix shape to float64 and compares row bits between widths. */
export async function checkOutputs(
  engine: Engine,
  parts: { store: WeightStore; widths: readonly number[] },
): Promise<OutputCheck> {
  const { store, widths } = parts;
  const byShape = new Map<string, Weight>();
  for (const weight of store.weights) {
    if (weight.shape.length === 2) byShape.set(`${weight.format} ${weight.shape.join('x')}`, weight);
  }
  const kernels: KernelCheck[] = [];
  for (const weight of byShape.values()) kernels.push(await checkMatrix(engine, store, weight));
  const exactWidths = [...(await engine.exactWidths(widths))];
  const tolerance = tolerances[engine.arithmetic];
  const ok = kernels.every(({ relativeError }) => relativeError < tolerance) && exactWidths.length === widths.length;
  return { ok, kernels, exactWidths, askedWidths: widths };
}
