import type { Round } from '@forerun/contracts';
import type { NdArray, Operand, Tensor } from '@forerun/tensor';
import {
  defineKernel,
  defineOperation,
  gather,
  grid,
  linearWorkgroupWgsl,
  read,
  uniform,
  unpackSampling,
  write,
} from '@forerun/tensor';

const coupledLogitsKernel = defineKernel({
  name: 'coupled-logits',
  bindings: { logits: read('f32'), noise: read('f32'), settings: uniform('array<vec4<u32>, 4>'), y: write('f32') },
  wgsl: (c: { count: number; width: number; noiseRows: number }) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  if (i >= ${c.count}u) { return; }
  let row = min(i / ${c.width}u, ${c.noiseRows - 1}u);
  let temperature = bitcast<f32>(settings[0].x);
  var value = logits[i];
  if (temperature > 0.0) { value = value / temperature + noise[row * ${c.width}u + i % ${c.width}u]; }
  y[i] = value;
}`,
});

const coupledLogitsOperation = defineOperation({
  name: 'coupled-logits',
  infer: ([logits]) => [{ shape: (logits as Tensor).shape, dtype: 'f32' }],
  reference([logits, noise, settings]) {
    const { temperature } = unpackSampling(settings!.data);
    const [rows, width] = noise!.shape as [number, number];
    const data = logits!.data.map((value, i) =>
      temperature > 0
        ? value / temperature + noise!.data[Math.min(Math.floor(i / width), rows - 1) * width + (i % width)]!
        : value,
    );
    return [{ shape: logits!.shape, dtype: 'f32', data } satisfies NdArray];
  },
  lower(lowering, { operands, outputs }) {
    const [logits, noise, settings] = operands as readonly [Tensor, Tensor, Operand];
    const [rows, width] = logits.shape as [number, number];
    lowering.dispatch(coupledLogitsKernel, {
      constants: { count: rows * width, width, noiseRows: noise.shape[0]! },
      bindings: {
        logits: lowering.tensor(logits),
        noise: lowering.tensor(noise),
        settings: lowering.state(settings),
        y: lowering.tensor(outputs[0]!),
      },
      workgroups: grid(Math.ceil((rows * width) / 64)),
      bytes: 8 * rows * width,
    });
  },
});

/** What couples a draft with its target. */
export interface Coupling {
  readonly round: Round;
  /** Depth under the anchor of the tokens that all rows guess, or that of each row. */
  readonly depths: number | readonly number[];
  /** The target's tokens of the draft's vocabulary `[Vd]` u32; the same by default. */
  readonly tokens?: Tensor;
}

/**
 * Logits whose largest entry is the token that the target would choose if it agreed: `z / T + gumbel` with the target's own noise at
 * the position of the guess, `z` at temperature 0. Penalties and filters are the target's business.
 *
 * @param logits `[M, Vd]` f32
 */
export function coupledLogits(logits: Tensor, { round, depths, tokens }: Coupling): Tensor {
  const { length, noise, sampling, decoder } = round;
  const { graph } = logits;
  const places = length.add(graph.constant(Uint32Array.from(typeof depths === 'number' ? [depths] : depths)));
  const gumbel = noise.gumbel(places, decoder.vocabSize, 'target');
  const own = tokens ? columns(gumbel, tokens) : gumbel;
  return graph.apply(coupledLogitsOperation, [logits, own, sampling.settings], {})[0]!;
}

/** Columns `tokens` `[Vd]` of a matrix `[N, V]`. */
function columns(matrix: Tensor, tokens: Tensor): Tensor {
  const [N, V] = matrix.shape as [number, number];
  const starts = matrix.graph.constant(
    Uint32Array.from({ length: N }, (_, row) => row * V),
    [N, 1],
  );
  return gather(matrix.reshape([N * V]), tokens.reshape([1, tokens.shape[0]!]).add(starts));
}
