import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { turnWgsl } from './turn.wgsl.ts';

/** Which two elements of a head a pair rotates. */
export type RopeLayout = 'halves' | 'interleaved';

/** WGSL offsets of pair `pair` in a head, by layout. */
export const pairOffsetsWgsl: Record<RopeLayout, (pairs: number) => readonly [first: string, second: string]> = {
  halves: (pairs) => ['pair', `pair + ${pairs}u`],
  interleaved: () => ['2u * pair', '2u * pair + 1u'],
};

interface RopeConstants {
  readonly heads: number;
  readonly headDim: number;
  readonly rotaryWidth: number;
  readonly attentionFactor: number;
  readonly layout: RopeLayout;
  readonly tables: number;
  readonly baseSpan: number;
}

/** A WGSL float literal. */
export const floatWgsl = (value: number): string => {
  const text = String(Math.fround(value));
  return /[.e]/.test(text) ? `${text}f` : `${text}.0f`;
};

/** WGSL: first entry of the table that row `row` uses. */
export const tableStartWgsl = {
  one: () => '0u',
  bySpan: ({ tables, baseSpan, rotaryWidth }: { tables: number; baseSpan: number; rotaryWidth: number }) =>
    `min(max(spans[row], ${baseSpan}u) - ${baseSpan}u, ${tables - 1}u) * ${rotaryWidth / 2}u`,
};

/** One invocation a pair, and one for each element that passes through. */
const body = (c: RopeConstants, tableStart: string) => {
  const pairs = c.rotaryWidth / 2;
  const items = pairs + c.headDim - c.rotaryWidth;
  const [first, second] = pairOffsetsWgsl[c.layout](pairs);
  return /* wgsl */ `
${turnWgsl}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = ${linearWorkgroupWgsl} * 64u + lane;
  if (i >= u.rows * ${c.heads * items}u) { return; }
  let pair = i % ${items}u;
  let head = i / ${items}u;
  let base = head * ${c.headDim}u;
  if (pair >= ${pairs}u) {
    let passed = base + pair + ${pairs}u;
    y[passed] = x[passed];
    return;
  }
  let row = head / ${c.heads}u;
  let turned = cosSin(steps[${tableStart} + pair], positions[row]) * ${floatWgsl(c.attentionFactor)};
  let first = x[base + ${first}];
  let second = x[base + ${second}];
  y[base + ${first}] = fma(first, turned.x, -(second * turned.y));
  y[base + ${second}] = fma(second, turned.x, first * turned.y);
}`;
};

const bindings = { x: read('f32'), positions: read('u32'), steps: read('vec2<u32>'), y: write('f32') };

/** Speeds that do not depend on the length. */
export const ropeKernel = defineKernel({
  name: 'rope',
  bindings,
  uniforms: { rows: 'u32' },
  wgsl: (c: RopeConstants) => body(c, tableStartWgsl.one()),
});

/** Speeds by the length that each row adapts to. */
export const ropeBySpanKernel = defineKernel({
  name: 'rope-by-span',
  bindings: { ...bindings, spans: read('u32') },
  uniforms: { rows: 'u32' },
  wgsl: (c: RopeConstants) => body(c, tableStartWgsl.bySpan(c)),
});
