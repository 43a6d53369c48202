import type { Engine } from '@forerun/decoding';
import type { DecoderConfig } from '@forerun/models';
import type { Arithmetic, Weight, WeightStore } from '@forerun/tensor';
import { Commands, compile, embedding, gatherRows, linear, trace } from '@forerun/tensor';
import type { LayerCheck } from './layer-check.ts';
import { checkLayer } from './layer-check.ts';

/** How far a kernel's sample was from float64. */
export interface KernelCheck {
  readonly weight: string;
  readonly shape: readonly number[];
  /** Rows that were multiplied at once. */
  readonly rows: number;
  readonly relativeError: number;
}

/** Whether what is timed also computes right. */
export interface OutputCheck {
  readonly ok: boolean;
  /** One matrix of each shape, held to float64 sums over the values that are really on the device. */
  readonly kernels: readonly KernelCheck[];
  /** Attention, norms, rope and activation in a narrow layer; empty for a model type that cannot be made narrow. */
  readonly layers: readonly LayerCheck[];
  /** Widths whose rows have the bits that they have alone, of those asked for. */
  readonly exactWidths: readonly number[];
  readonly askedWidths: readonly number[];
}

/** Outputs of a product that are compared. */
const sampledOutputs = 32;
/** Allowed error of f32 sums over rounded weights, of products and short sums in f16, of rows rounded to int8. */
const tolerances: Readonly<Record<Arithmetic, number>> = { f32: 1e-5, f16: 2e-3, i8: 2e-2 };

/** Products of the first, the middle and the last of M random rows with a sample of a matrix's rows on the device, against float64. */
async function checkMatrix(
  { device, arithmetic }: Engine,
  store: WeightStore,
  { weight, M }: { weight: Weight; M: number },
): Promise<KernelCheck> {
  const [N, K] = [weight.rows, weight.width];
  const sample = Math.min(sampledOutputs, N);
  const outputs = Uint32Array.from({ length: sample }, (_, i) => Math.floor((i * (N - 1)) / Math.max(1, sample - 1)));
  const inputs = Uint32Array.from(new Set([0, M >> 1, M - 1]));
  const graph = trace((traced) => {
    const product = linear(traced.input('x', [M, K]), weight);
    traced.output('product', M === 1 ? product : gatherRows(product, traced.constant(inputs)));
    traced.output('values', embedding(weight, traced.constant(outputs)));
  });
  const name = `check of ${weight.name} with ${M} rows`;
  const program = await compile(graph, { device, name, weights: store, arithmetic });
  const x = Float32Array.from({ length: M * K }, (_, i) => Math.sin(i * 12.9898 + 1) * 1.5);
  try {
    program.write('x', x);
    const commands = new Commands(device).run(program);
    const reads = Promise.all([commands.read(program, 'product'), commands.read(program, 'values')]);
    commands.submit();
    const [product, values] = await reads;
    let difference = 0;
    let norm = 0;
    inputs.forEach((input, row) => {
      outputs.forEach((output, i) => {
        let sum = 0;
        for (let k = 0; k < K; k++) sum += x[input * K + k]! * values[i * K + k]!;
        difference += (product[row * N + output]! - sum) ** 2;
        norm += sum ** 2;
      });
    });
    return { weight: weight.name, shape: weight.shape, rows: M, relativeError: Math.sqrt(difference / norm) };
  } finally {
    program.destroy();
  }
}

/**
 * Holds a sample of every matrix shape to float64, with one row and with each size of a prefill pass; a narrow layer with the model's own
 * heads likewise; and compares row bits between widths.
 */
export async function checkOutputs(
  engine: Engine,
  parts: {
    readonly store: WeightStore;
    readonly widths: readonly number[];
    readonly json: Readonly<Record<string, unknown>>;
    readonly config: DecoderConfig;
  },
): Promise<OutputCheck> {
  const { store, widths, json, config } = parts;
  const { arithmetic, chunkTokens } = engine;
  const byShape = new Map<string, Weight>();
  for (const weight of store.weights) {
    if (weight.shape.length === 2) byShape.set(`${weight.format} ${weight.shape.join('x')}`, weight);
  }
  const kernels: KernelCheck[] = [];
  for (const weight of byShape.values()) {
    // Prefill makes no logits.
    const passes = weight.rows === config.vocabSize ? [1] : [...new Set([1, ...chunkTokens])];
    for (const M of passes) kernels.push(await checkMatrix(engine, store, { weight, M }));
  }
  const rows = [...new Set([1, Math.max(...widths), Math.min(...chunkTokens)])];
  const layers = await checkLayer(engine.device, json, { config, rows, context: layerContext, arithmetic });
  const exactWidths = [...(await engine.exactWidths(widths))];
  const tolerance = tolerances[arithmetic];
  const ok =
    kernels.every(({ relativeError }) => relativeError < tolerance) &&
    layers.every(({ problem }) => problem === undefined) &&
    exactWidths.length === widths.length;
  return { ok, kernels, layers, exactWidths, askedWidths: widths };
}

/** Tokens in the cache of the layer that is checked: several splits of attention, and no whole number of them. */
const layerContext = 300;
