import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import type { WrittenRows } from '../linear/linear-slots.ts';
import { keptQuadWgsl, rowBindings, rowUnit, rowWriter } from '../linear/prepared-rows.wgsl.ts';
import type { AttentionFamily } from './family.ts';

/** Constants of the combine kernel. */
export interface CombineConstants extends AttentionFamily {
  readonly heads: number;
  readonly valueDim: number;
  readonly window: number | undefined;
  readonly partialBlocks: number;
  readonly written?: WrittenRows | undefined;
}

/** What the combine kernel reads. */
export interface CombineParts {
  /** Whether there are scores without a value. */
  readonly sinks: boolean;
  /** Whether each row has a first position of its own. */
  readonly begins: boolean;
  /** The output as the rows that a matrix wants prepared; a row has the heads one after another. */
  readonly written?: WrittenRows | undefined;
}

/** What differs between widths and capacities that share a pipeline; `sinkBegin` is the first element of the sinks in their binding. */
const uniforms = { rowBegin: 'u32', passRows: 'u32', partials: 'u32', capacity: 'u32', sinkBegin: 'u32' } as const;

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/**
 * Folds the partials of each (row, head): blocks in order into spans, spans in order into the row, then divides by the sum of weights.
 * A lane owns columns of the output; rows that are not in use become zeros.
 */
export function combineKernel(parts: CombineParts) {
  const { sinks, begins, written } = parts;
  const bindings: Record<string, Binding> = {
    partials: read('f32'),
    depths: read('u32'),
    count: read('u32'),
    ...(begins ? { begins: read('u32') } : {}),
    ...(sinks ? { sinks: read('f32') } : {}),
    ...(written ? rowBindings(written.form) : {}),
    ...(written?.plain === false ? {} : { y: write('f32') }),
  };
  const writes = written ? `-writes-${written.form.arithmetic}` : '';
  return defineKernel({
    name: `attention-combine${begins ? '-begins' : ''}${sinks ? '-sinks' : ''}${writes}`,
    bindings,
    uniforms,
    features: written?.form.arithmetic === 'f16' ? ['shader-f16'] : [],
    // What is written follows from the constants too, since they tell pipelines apart.
    wgsl: (c: CombineConstants) => combineWgsl(c, { sinks, begins, written: c.written }),
  });
}

/** WGSL of the tail: a head's values meet in workgroup memory, and go on from there in units. */
function keptWgsl({ valueDim, written }: CombineConstants, threads: number) {
  if (!written) return { functions: '', tail: '' };
  const unit = rowUnit[written.form.arithmetic];
  const units = valueDim / unit;
  return {
    functions: /* wgsl */ `
var<workgroup> kept: array<f32, ${valueDim}>;
${keptQuadWgsl}
${rowWriter(written.form)}`,
    tail: /* wgsl */ `
  workgroupBarrier();
  for (var item = lane; item < ${units}u; item += ${threads}u) {
    prepareUnit(row, head * ${units}u + item, item * ${unit / 4}u);
  }`,
  };
}

function combineWgsl(c: CombineConstants, { sinks, begins, written }: CombineParts): string {
  const { lanes, block, spanBlocks, partialBlocks, valueDim, heads } = c;
  const cols = range(Math.ceil(valueDim / lanes));
  const spanPartials = spanBlocks / partialBlocks;
  const partialKeys = block * partialBlocks;
  // A partial that is a whole span needs no folding of its own, so nothing is gained by folding several spans at the same time.
  const groups = spanPartials === 1 ? 1 : c.spanGroups;
  const windowBegin = c.window === undefined ? '0u' : `keys - min(keys, ${c.window}u)`;
  const each = (items: readonly number[], text: (i: number) => string) => items.map(text).join('\n');
  const guarded = (i: number, text: string) =>
    (i + 1) * lanes <= valueDim ? text : `if (column + ${i * lanes}u < ${valueDim}u) { ${text} }`;
  const fold = (into: string, part: { top: string; total: string; column: (i: number) => string }) => `
        let peak = max(${into}Top, ${part.top});
        let kept = exp(${into}Top - peak);
        let added = exp(${part.top} - peak);
        ${into}Top = peak;
        ${into}Total = fma(${into}Total, kept, ${part.total} * added);
${each(cols, (i) => `        ${into}${i} = fma(${into}${i}, kept, ${part.column(i)} * added);`)}`;
  const loads = each(
    range(spanPartials),
    (
      k,
    ) => `    let at${k} = (((min(max(first + ${k}u, begin), end - 1u) % u.partials) * u.passRows + workgroup.y) * ${heads}u + head) * ${valueDim + 2}u;
    let blockTop${k} = partials[at${k} + ${valueDim}u];
    let blockTotal${k} = partials[at${k} + ${valueDim + 1}u];
${each(cols, (i) => `    let block${k}_${i} = partials[at${k} + min(column + ${i * lanes}u, ${valueDim - 1}u)];`)}`,
  );
  const blocks = (into: string) =>
    each(
      range(spanPartials),
      (k) => `    if (first + ${k}u >= begin && first + ${k}u < end) {
${fold(into, { top: `blockTop${k}`, total: `blockTotal${k}`, column: (i) => `block${k}_${i}` })}
    }`,
    );
  const fresh = (name: string) => `    var ${name}Top = lowest;
    var ${name}Total = 0.0;
${each(cols, (i) => `    var ${name}${i} = 0.0;`)}`;
  const oneByOne = `${fresh('span')}
${blocks('span')}
    {
${fold('row', { top: 'spanTop', total: 'spanTotal', column: (i) => `span${i}` })}
    }`;
  const together = `${fresh('span')}
${blocks('span')}
    if (column == 0u) { tops[group] = spanTop; totals[group] = spanTotal; }
${each(cols, (i) => `    ${guarded(i, `spans[group * ${valueDim}u + column + ${i * lanes}u] = span${i};`)}`)}
    workgroupBarrier();
    for (var g = 0u; g < ${groups}u && base + g * ${spanPartials}u < end; g += 1u) {
      let from_ = g * ${valueDim}u + column;
${fold('row', { top: 'tops[g]', total: 'totals[g]', column: (i) => `spans[min(from_ + ${i * lanes}u, ${groups * valueDim - 1}u)]` })}
    }
    workgroupBarrier();`;
  const step = spanPartials === 1 ? blocks('row') : groups === 1 ? oneByOne : together;
  const { functions, tail } = keptWgsl(c, lanes * groups);
  const store = (i: number) =>
    [
      ...(written?.plain === false ? [] : [`y[out + ${i * lanes}u] = row${i} * factor;`]),
      ...(written ? [`kept[column + ${i * lanes}u] = row${i} * factor;`] : []),
    ].join(' ');
  return /* wgsl */ `
const lowest = -3.0e38;
${functions}
${
  groups === 1
    ? ''
    : `var<workgroup> extent: vec2<u32>;
var<workgroup> tops: array<f32, ${groups}>;
var<workgroup> totals: array<f32, ${groups}>;
var<workgroup> spans: array<f32, ${groups * valueDim}>;`
}
@compute @workgroup_size(${lanes * groups})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = workgroup.x;
  let row = u.rowBegin + workgroup.y;
  let column = lane % ${lanes}u;
  let group = lane / ${lanes}u;
  let out = (row * ${heads}u + head) * ${valueDim}u + column;
  let keys = min(depths[row] + 1u, u.capacity);
  let firstKey = ${begins ? `max(begins[row], ${windowBegin})` : windowBegin};
  var visible = vec2<u32>(0u);
  if (row < count[0] && firstKey < keys) { visible = vec2<u32>(firstKey / ${partialKeys}u, (keys - 1u) / ${partialKeys}u + 1u); }
${
  groups === 1
    ? '  let bounds = visible;'
    : `  if (lane == 0u) { extent = visible; }
  let bounds = workgroupUniformLoad(&extent);`
}
  let begin = bounds.x;
  let end = bounds.y;
${fresh('row')}
  for (var base = begin / ${spanPartials}u * ${spanPartials}u; base < end; base += ${spanPartials * groups}u) {
    let first = base + group * ${spanPartials}u;
${loads}
${step}
  }
  var factor = 0.0;
  if (end > 0u) {
${
  sinks
    ? `    let sink = sinks[u.sinkBegin + head];
    let peak = max(rowTop, sink);
    let kept = exp(rowTop - peak);
    factor = kept / fma(rowTotal, kept, exp(sink - peak));`
    : '    factor = 1.0 / rowTotal;'
}
  }
  if (group == 0u) {
${each(cols, (i) => `    ${guarded(i, store(i))}`)}
  }
  ${tail}
}`;
}
