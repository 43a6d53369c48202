/**
 * Lanes lie along K, as in the decode kernel of `linear`: lane k takes units k, k + lanes, … in that order, and lane sums are added
 * from lane 0 up. Which experts other rows take, and how many rows there are, changes no bit of a row.
 */
import type { WeightFormat } from '../../graph/weight.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, readWrite, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { quadFunction, quadType, weightReader } from '../../wgsl/weight-reader.ts';

/** What the kernels are made from. */
export interface ExpertConstants {
  readonly format: WeightFormat;
  /** K. */
  readonly width: number;
  /** N. */
  readonly outputs: number;
  /** J, experts of a row. */
  readonly perRow: number;
  /** E, experts in all. */
  readonly experts: number;
  /** Experts `first ..< end` lie in this binding, the first row of the first being row `rowOffset`. */
  readonly first: number;
  readonly end: number;
  readonly rowOffset: number;
  /** Whether each of a row's experts has an input row of its own. */
  readonly inputPerExpert: boolean;
  readonly lanes: number;
  readonly workgroup: number;
}

/** Outputs that a workgroup makes of one item. */
export const outputsPerWorkgroup = ({ workgroup, lanes }: Pick<ExpertConstants, 'workgroup' | 'lanes'>) =>
  workgroup / lanes;

/** WGSL `expertDot(row, input, lane)`: the lane's share of a weight row times an input row. */
function dotFunction({ format, width, lanes }: ExpertConstants): string {
  const { units, quads, scaled, position } = weightReader(format, width);
  const padded = quads * 4 * units !== width;
  const terms = Array.from({ length: quads }, (_, q) => [
    `let w${q} = weightQuad${q}(bits);`,
    `let x${q} = xQuad(input, ${position('unit', q)});`,
    ...[...'xyzw'].map((c) => `part = fma(w${q}.${c}, x${q}.${c}, part);`),
  ]).flat();
  const into = scaled
    ? { begin: 'var part = 0f;', end: 'sum = fma(part, weightScale(row, unit), sum);' }
    : { begin: 'var part = sum;', end: 'sum = part;' };
  return /* wgsl */ `
${weightReader(format, width).functions}
${quadFunction('x', width, { padded })}
fn expertDot(row: u32, input: u32, lane: u32) -> f32 {
  var sum = 0f;
  for (var unit = lane; unit < ${units}u; unit += ${lanes}u) {
    let bits = weightBits(row, unit);
    ${into.begin}
    ${terms.join('\n    ')}
    ${into.end}
  }
  return sum;
}`;
}

const laneMemory = {
  alone: () => '',
  together: (workgroup: number) => `var<workgroup> shares: array<f32, ${workgroup}>;`,
};

/** Sums the lanes of each output; the first lane has the total. */
function total({ lanes, workgroup }: ExpertConstants): { readonly memory: string; readonly sum: string } {
  if (lanes === 1) return { memory: laneMemory.alone(), sum: 'let product = share;' };
  return {
    memory: laneMemory.together(workgroup),
    sum: /* wgsl */ `
  shares[local] = share;
  workgroupBarrier();
  var product = 0f;
  if (lane == 0u) { for (var i = 0u; i < ${lanes}u; i += 1u) { product += shares[local + i]; } }`,
  };
}

/** Where a workgroup's item and output are. */
const place = (c: ExpertConstants) => /* wgsl */ `
  let tile = ${linearWorkgroupWgsl};
  let tiles = ${Math.ceil(c.outputs / outputsPerWorkgroup(c))}u;
  let item = tile / tiles;
  if (item >= u.items) { return; }
  let lane = local % ${c.lanes}u;
  let output = (tile % tiles) * ${outputsPerWorkgroup(c)}u + local / ${c.lanes}u;
  let column = min(output, ${c.outputs - 1}u);`;

const entry = (workgroup: number) => /* wgsl */ `
@compute @workgroup_size(${workgroup})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {`;

const expertRow = (c: ExpertConstants) => `(id - ${c.first}u) * ${c.outputs}u + ${c.rowOffset}u + column`;

const shared = (format: WeightFormat, width: number): Record<string, Binding> => {
  const { codesType, scaled } = weightReader(format, width);
  return {
    codes: read(codesType),
    ...(scaled ? { scales: read('u32') } : {}),
    x: read(quadType(width)),
    ids: read('u32'),
  };
};

/** `y[m, j] = W(ids[m, j]) x`: an item is an expert of a row. Experts of other bindings are left to their dispatches. */
export function expertKernel(format: WeightFormat, width: number) {
  return defineKernel({
    name: `expert-linear-${format}`,
    bindings: { ...shared(format, width), y: write('f32') } as Record<string, Binding>,
    uniforms: { items: 'u32' },
    wgsl: (c: ExpertConstants) => {
      const { memory, sum } = total(c);
      const input = c.inputPerExpert ? 'item' : `item / ${c.perRow}u`;
      const absent = c.first === 0 ? `id >= ${c.experts}u` : 'false';
      return /* wgsl */ `
${dotFunction(c)}
${memory}
${entry(c.workgroup)}
  ${place(c)}
  let id = ids[item];
  let here = id >= ${c.first}u && id < ${c.end}u;
  var share = 0f;
  if (here) { share = expertDot(${expertRow(c)}, ${input}, lane); }
  ${sum}
  if (lane == 0u && output < ${c.outputs}u && (here || ${absent})) { y[item * ${c.outputs}u + output] = product; }
}`;
    },
  });
}

const sums = { first: { access: write, before: '0f' }, further: { access: readWrite, before: 'y[at]' } } as const;

/** `y[m] = sum over j of weights[m, j] W(ids[m, j]) x`: an item is a row. Bindings after the first add to what is there. */
export function expertSumKernel(format: WeightFormat, width: number, turn: keyof typeof sums) {
  return defineKernel({
    name: `expert-linear-sum-${format}-${turn}`,
    bindings: {
      ...shared(format, width),
      weights: read('f32'),
      y: sums[turn].access('f32'),
    } as Record<string, Binding>,
    uniforms: { items: 'u32' },
    wgsl: (c: ExpertConstants) => {
      const { memory, sum } = total(c);
      const input = c.inputPerExpert ? `item * ${c.perRow}u + j` : 'item';
      return /* wgsl */ `
${dotFunction(c)}
${memory}
${entry(c.workgroup)}
  ${place(c)}
  var share = 0f;
  for (var j = 0u; j < ${c.perRow}u; j += 1u) {
    let id = ids[item * ${c.perRow}u + j];
    if (id >= ${c.first}u && id < ${c.end}u) {
      share = fma(weights[item * ${c.perRow}u + j], expertDot(${expertRow(c)}, ${input}, lane), share);
    }
  }
  ${sum}
  let at = item * ${c.outputs}u + output;
  if (lane == 0u && output < ${c.outputs}u) { y[at] = ${sums[turn].before} + product; }
}`;
    },
  });
}
