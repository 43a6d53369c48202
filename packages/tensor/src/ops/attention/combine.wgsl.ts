import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import type { WrittenRows } from '../linear/linear-slots.ts';
import { keptQuadWgsl, rowBindings, rowUnit, tileWriter } from '../linear/prepared-rows.wgsl.ts';
import type { AttentionFamily } from './family.ts';
import { partialStride, spanChains } from './family.ts';
import { partialSlotWgsl, partialUniforms } from './partial-slot.wgsl.ts';

/** Constants of the combine kernel. */
export interface CombineConstants extends Pick<AttentionFamily, 'block' | 'spanBlocks' | 'spanGroups'> {
  /** Invocations of a chain of spans. */
  readonly lanes: number;
  readonly heads: number;
  readonly valueDim: number;
  readonly window: number | undefined;
  readonly written?: WrittenRows | undefined;
}

/** What the combine kernel reads. */
export interface CombineParts {
  /** Elements of a head's output. */
  readonly valueDim: number;
  /** Whether there are scores without a value. */
  readonly sinks: boolean;
  /** Whether each row has a first position of its own. */
  readonly begins: boolean;
  /** The output as the rows that a matrix wants prepared; a row has the heads one after another. */
  readonly written?: WrittenRows | undefined;
}

/** What differs between widths and capacities that share a pipeline; `sinkBegin` is the first element of the sinks in their binding. */
const uniforms = {
  rowBegin: 'u32',
  passRows: 'u32',
  ...partialUniforms,
  capacity: 'u32',
  sinkBegin: 'u32',
} as const;

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Elements that are read and written together. */
const widthOf = (valueDim: number): 1 | 4 => (valueDim % 4 === 0 ? 4 : 1);

/** Invocations of a chain of spans: enough for the vectors of a head where the device's families have as many. */
export function combineLanes(family: AttentionFamily, valueDim: number): number {
  const vectors = valueDim / widthOf(valueDim);
  const most = Math.min(family.lanes, 256 / spanChains(family, valueDim));
  let needed = 1;
  while (needed < vectors && 2 * needed <= most) needed *= 2;
  return needed;
}

/**
 * Folds the partials of each (row, head): blocks in order into spans, spans in order into the chains among which they are dealt, chains in order
 * into the row; then divides by the sum of weights. A lane owns vectors of the output; rows that are not in use become zeros.
 */
export function combineKernel(parts: CombineParts) {
  const { sinks, begins, written, valueDim } = parts;
  const vector = widthOf(valueDim) === 4 ? 'vec4<f32>' : 'f32';
  const bindings: Record<string, Binding> = {
    partials: read(vector),
    depths: read('u32'),
    count: read('u32'),
    ...(begins ? { begins: read('u32') } : {}),
    ...(sinks ? { sinks: read('f32') } : {}),
    ...(written ? rowBindings(written.form) : {}),
    ...(written?.plain === false ? {} : { y: write(vector) }),
  };
  const writes = written ? `-writes-${written.form.arithmetic}` : '';
  return defineKernel({
    name: `attention-combine${begins ? '-begins' : ''}${sinks ? '-sinks' : ''}${writes}`,
    bindings,
    uniforms,
    features: written?.form.arithmetic === 'f16' ? ['shader-f16'] : [],
    // What is written follows from the constants too, since they tell pipelines apart.
    wgsl: (c: CombineConstants) => combineWgsl(c, { valueDim, sinks, begins, written: c.written }),
  });
}

/** WGSL of the tail: a head's values meet in workgroup memory, and go on from there in units. */
function keptWgsl({ valueDim, written }: CombineConstants, threads: number) {
  if (!written) return { functions: '', tail: '' };
  const units = valueDim / rowUnit[written.form.arithmetic];
  return {
    functions: /* wgsl */ `
var<workgroup> kept: array<f32, ${valueDim}>;
${keptQuadWgsl}
${tileWriter(written.form, { rows: 1, units, threads })}`,
    tail: `prepareTile(row, row + 1u, head * ${units}u, lane);`,
  };
}

function combineWgsl(c: CombineConstants, { sinks, begins, written }: CombineParts): string {
  const { lanes, block, spanBlocks, spanGroups, valueDim, heads } = c;
  const width = widthOf(valueDim);
  const type = width === 4 ? 'vec4<f32>' : 'f32';
  const vectors = valueDim / width;
  const stride = partialStride(valueDim) / width;
  const cols = range(Math.ceil(vectors / lanes));
  const windowBegin = c.window === undefined ? '0u' : `keys - min(keys, ${c.window}u)`;
  const each = (items: readonly number[], text: (i: number) => string, separator = '\n') =>
    items.map(text).join(separator);
  const guarded = (i: number, text: string) =>
    (i + 1) * lanes <= vectors ? text : `if (column + ${i * lanes}u < ${vectors}u) { ${text} }`;
  const inside = (i: number) =>
    (i + 1) * lanes <= vectors ? `column + ${i * lanes}u` : `min(column + ${i * lanes}u, ${vectors - 1}u)`;
  const fold = (into: string, part: { top: string; total: string; column: (i: number) => string }) => `
        let peak = max(${into}Top, ${part.top});
        let kept_ = exp(${into}Top - peak);
        let added = exp(${part.top} - peak);
        ${into}Top = peak;
        ${into}Total = fma(${into}Total, kept_, ${part.total} * added);
${each(cols, (i) => `        ${into}${i} = fma(${into}${i}, ${type}(kept_), ${part.column(i)} * added);`)}`;
  const parts = range(spanBlocks);
  const loads = each(
    parts,
    (k) => `    let partial${k} = base + ${k}u * step;
    let at${k} = ((partialSlot(min(max(partial${k}, least), end - 1u)) * u.passRows + workgroup.y) * ${heads}u + head) * ${stride}u;
${
  width === 4
    ? `    let ends${k} = partials[at${k} + ${stride - 1}u];
    let top${k} = ends${k}.x;
    let total${k} = ends${k}.y;`
    : `    let top${k} = partials[at${k} + ${stride - 4}u];
    let total${k} = partials[at${k} + ${stride - 3}u];`
}
${each(cols, (i) => `    let part${k}_${i} = partials[at${k} + ${inside(i)}];`)}`,
  );
  const folded = (into: string) =>
    each(
      parts,
      (k) => `      if (partial${k} >= least && partial${k} < end) {
${fold(into, { top: `top${k}`, total: `total${k}`, column: (i) => `part${k}_${i}` })}
      }`,
    );
  const fresh = (name: string) => `    var ${name}Top = lowest;
    var ${name}Total = 0.0;
${each(cols, (i) => `    var ${name}${i} = ${type}(0.0);`)}`;
  const { functions, tail } = keptWgsl(c, lanes * spanGroups);
  const store = (i: number) =>
    [
      ...(written?.plain === false ? [] : [`y[out + column + ${i * lanes}u] = row${i} * factor;`]),
      ...(written
        ? [
            `let kept${i} = row${i} * factor;`,
            ...range(width).map(
              (k) =>
                `kept[(column + ${i * lanes}u) * ${width}u + ${k}u] = kept${i}${width === 4 ? `.${'xyzw'[k]}` : ''};`,
            ),
          ]
        : []),
    ].join(' ');
  return /* wgsl */ `
const lowest = -3.0e38;
${functions}
${
  spanGroups === 1
    ? ''
    : `var<workgroup> tops: array<f32, ${spanGroups}>;
var<workgroup> totals: array<f32, ${spanGroups}>;
var<workgroup> chains: array<${type}, ${spanGroups * vectors}>;`
}
${partialSlotWgsl(spanBlocks)}
@compute @workgroup_size(${lanes * spanGroups})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = workgroup.x;
  let row = u.rowBegin + workgroup.y;
  let column = lane % ${lanes}u;
  let chain = lane / ${lanes}u;
  let out = (row * ${heads}u + head) * ${vectors}u;
  let keys = min(depths[row] + 1u, u.capacity);
  let firstKey = ${begins ? `max(begins[row], ${windowBegin})` : windowBegin};
  var blocks = vec2<u32>(0u);
  if (row < count[0] && firstKey < keys) { blocks = vec2<u32>(firstKey / ${block}u, (keys - 1u) / ${block}u + 1u); }
  let beginSpan = blocks.x / ${spanBlocks}u;
  let endSpan = (blocks.y + ${spanBlocks - 1}u) / ${spanBlocks}u;
${fresh('row')}
  var span = beginSpan + (chain + ${spanGroups}u - beginSpan % ${spanGroups}u) % ${spanGroups}u;
  while (span < endSpan) {
    let inBlocks = span * ${spanBlocks}u < u.headBlocks;
    let base = partialOfBlock(span * ${spanBlocks}u);
    let step = select(${spanGroups}u, 1u, inBlocks);
    let least = select(base, max(base, blocks.x), inBlocks);
    let end = select(partialOfBlock(endSpan * ${spanBlocks}u), min(base + ${spanBlocks}u, blocks.y), inBlocks);
${loads}
    if (inBlocks) {
${fresh('span')}
${folded('span')}
${fold('row', { top: 'spanTop', total: 'spanTotal', column: (i) => `span${i}` })}
      span += ${spanGroups}u;
    } else {
${folded('row')}
      span += ${spanGroups * spanBlocks}u;
    }
  }
${
  spanGroups === 1
    ? ''
    : `  if (column == 0u) { tops[chain] = rowTop; totals[chain] = rowTotal; }
${each(cols, (i) => `  ${guarded(i, `chains[chain * ${vectors}u + column + ${i * lanes}u] = row${i};`)}`)}
  workgroupBarrier();`
}
  if (chain == 0u) {
${
  spanGroups === 1
    ? ''
    : `    for (var next = 1u; next < min(endSpan, ${spanGroups}u); next += 1u) {
      let from_ = next * ${vectors}u;
${fold('row', { top: 'tops[next]', total: 'totals[next]', column: (i) => `chains[from_ + ${inside(i)}]` })}
    }`
}
    var factor = 0.0;
    if (blocks.y > 0u) {
${
  sinks
    ? `      let sink = sinks[u.sinkBegin + head];
      let peak = max(rowTop, sink);
      let kept_ = exp(rowTop - peak);
      factor = kept_ / fma(rowTotal, kept_, exp(sink - peak));`
    : '      factor = 1.0 / rowTotal;'
}
    }
${each(cols, (i) => `    ${guarded(i, store(i))}`)}
  }
  ${tail}
}`;
}
