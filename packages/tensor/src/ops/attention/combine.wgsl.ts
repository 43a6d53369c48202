import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import type { AttentionFamily } from './family.ts';

/** Constants of the combine kernel. */
export interface CombineConstants extends AttentionFamily {
  readonly heads: number;
  readonly valueDim: number;
  readonly window: number | undefined;
  readonly partialBlocks: number;
}

/** What the combine kernel reads. */
export interface CombineParts {
  /** Whether there are scores without a value. */
  readonly sinks: boolean;
  /** Whether each row has a first position of its own. */
  readonly begins: boolean;
}

/** What differs between widths and capacities that share a pipeline; `sinkBegin` is the first element of the sinks in their binding. */
const uniforms = { rowBegin: 'u32', passRows: 'u32', partials: 'u32', capacity: 'u32', sinkBegin: 'u32' } as const;

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/**
 * Folds the partials of each (row, head): blocks in order into spans, spans in order into the row, then divides by the sum of weights.
 * A lane owns columns of the output; rows that are not in use become zeros.
 */
export function combineKernel({ sinks, begins }: CombineParts) {
  const bindings: Record<string, Binding> = {
    partials: read('f32'),
    depths: read('u32'),
    count: read('u32'),
    ...(begins ? { begins: read('u32') } : {}),
    ...(sinks ? { sinks: read('f32') } : {}),
    y: write('f32'),
  };
  return defineKernel({
    name: `attention-combine${begins ? '-begins' : ''}${sinks ? '-sinks' : ''}`,
    bindings,
    uniforms,
    wgsl: (c: CombineConstants) => combineWgsl(c, { sinks, begins }),
  });
}

function combineWgsl(c: CombineConstants, { sinks, begins }: CombineParts): string {
  const { lanes, block, spanBlocks, partialBlocks, valueDim, heads } = c;
  const cols = range(Math.ceil(valueDim / lanes));
  const unrolled = range(spanBlocks / partialBlocks);
  const guarded = (i: number, text: string) => ((i + 1) * lanes <= valueDim ? text : `if (lane + ${i * lanes}u < ${valueDim}u) { ${text} }`);
  const each = (items: readonly number[], text: (i: number) => string) => items.map(text).join('\n');
  const partialKeys = block * partialBlocks;
  const windowBegin = c.window === undefined ? '0u' : `keys - min(keys, ${c.window}u)`;
  const fold = (into: string, from_: string, column: (i: number) => string) => `
        let peak = max(${into}Top, ${from_}Top);
        let kept = exp(${into}Top - peak);
        let added = exp(${from_}Top - peak);
        ${into}Top = peak;
        ${into}Total = fma(${into}Total, kept, ${from_}Total * added);
${each(cols, (i) => `        ${into}${i} = fma(${into}${i}, kept, ${column(i)} * added);`)}`;
  const span = unrolled.length === 1
    ? `      if (firstPartial >= begin && firstPartial < end) {
        let blockTop = top_0;
        let blockTotal = total_0;
${fold('row', 'block', (i) => `value_0_${i}`)}
      }`
    : `      var spanTop = lowest;
      var spanTotal = 0.0;
${each(cols, (i) => `      var span${i} = 0.0;`)}
${each(unrolled, (k) => `      if (firstPartial + ${k}u >= begin && firstPartial + ${k}u < end) {
        let blockTop = top_${k};
        let blockTotal = total_${k};
${fold('span', 'block', (i) => `value_${k}_${i}`)}
      }`)}
      {
${fold('row', 'span', (i) => `span${i}`)}
      }`;
  return /* wgsl */ `
const lowest = -3.0e38;
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = workgroup.x;
  let row = u.rowBegin + workgroup.y;
  let out = (row * ${heads}u + head) * ${valueDim}u + lane;
  let keys = min(depths[row] + 1u, u.capacity);
  let firstKey = ${begins ? `max(begins[row], ${windowBegin})` : windowBegin};
  if (row >= count[0] || firstKey >= keys) {
${each(cols, (i) => `    ${guarded(i, `y[out + ${i * lanes}u] = 0.0;`)}`)}
    return;
  }
  let begin = firstKey / ${partialKeys}u;
  let end = (keys - 1u) / ${partialKeys}u + 1u;
  var rowTop = lowest;
  var rowTotal = 0.0;
${each(cols, (i) => `  var row${i} = 0.0;`)}
  for (var firstPartial = begin / ${unrolled.length}u * ${unrolled.length}u; firstPartial < end; firstPartial += ${unrolled.length}u) {
${each(unrolled, (k) => `      let at_${k} = (((min(max(firstPartial + ${k}u, begin), end - 1u) % u.partials) * u.passRows + workgroup.y) * ${heads}u + head) * ${valueDim + 2}u;
      let top_${k} = partials[at_${k} + ${valueDim}u];
      let total_${k} = partials[at_${k} + ${valueDim + 1}u];
${each(cols, (i) => `      let value_${k}_${i} = partials[at_${k} + min(lane + ${i * lanes}u, ${valueDim - 1}u)];`)}`)}
${span}
  }
${sinks ? `  let sinkScore = sinks[u.sinkBegin + head];
  let peak = max(rowTop, sinkScore);
  let kept = exp(rowTop - peak);
  let divisor = fma(rowTotal, kept, exp(sinkScore - peak));
  let factor = kept / divisor;` : '  let factor = 1.0 / rowTotal;'}
${each(cols, (i) => `  ${guarded(i, `y[out + ${i * lanes}u] = row${i} * factor;`)}`)}
}`;
}
