import type { WeightFormat } from '../../graph/weight.ts';
import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { weightReader } from '../../wgsl/weight-reader.ts';

/** Invocations of a workgroup. */
export const embeddingWorkgroup = 64;

export interface EmbeddingConstants {
  readonly format: WeightFormat;
  /** D. */
  readonly width: number;
  /** Tokens to look up. */
  readonly rows: number;
  /** V. */
  readonly vocabulary: number;
  /** Tokens `rowBegin ..< rowEnd` are in this part of the table, from row `rowOffset` of its binding. */
  readonly rowBegin: number;
  readonly rowEnd: number;
  readonly rowOffset: number;
}

/** One invocation a unit of an output row. Each part of a split table writes its own rows; the first also those past the table. */
export function embeddingKernel(format: WeightFormat, width: number) {
  const { codesType, scaled } = weightReader(format, width);
  const bindings: Record<string, Binding> = {
    codes: read(codesType),
    ...(scaled ? { scales: read('u32') } : {}),
    tokens: read('u32'),
    y: write('f32'),
  };
  return defineKernel({
    name: `embedding-${format}`,
    bindings,
    wgsl: (c: EmbeddingConstants) => {
      const reader = weightReader(c.format, c.width);
      const factor = reader.scaled ? ' * weightScale(source, unit)' : '';
      const quads = Array.from({ length: reader.quads }, (_, q) => q);
      const absent = c.rowBegin === 0 ? `token >= ${c.vocabulary}u` : 'false';
      return /* wgsl */ `
${reader.functions}
fn put(row: u32, k: u32, values: vec4<f32>) {
  for (var i = 0u; i < 4u; i++) {
    if (k + i < ${c.width}u) { y[row * ${c.width}u + k + i] = values[i]; }
  }
}
@compute @workgroup_size(${embeddingWorkgroup})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let item = ${linearWorkgroupWgsl} * ${embeddingWorkgroup}u + local;
  let row = item / ${reader.units}u;
  let unit = item % ${reader.units}u;
  if (row >= ${c.rows}u) { return; }
  let token = tokens[row];
  if (token >= ${c.rowBegin}u && token < ${c.rowEnd}u) {
    let source = token - ${c.rowBegin}u + ${c.rowOffset}u;
    let bits = weightBits(source, unit);
    ${quads.map((q) => `put(row, ${reader.position('unit', q)}, weightQuad${q}(bits)${factor});`).join('\n    ')}
  } else if (${absent}) {
    ${quads.map((q) => `put(row, ${reader.position('unit', q)}, vec4<f32>(0.0));`).join('\n    ')}
  }
}`;
    },
  });
}
