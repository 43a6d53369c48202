/**
 * The kernel of prefill in f16 and i8, over weights in q4 and q8: tiles as in `matmul.wgsl.ts`, a block of 32 values along K at a time. Rows
 * come prepared, and codes are decoded once for the tile. Products and the sum of a block are f16, two chains of 16, or integers; blocks
 * are added up in f32.
 */
import { defineKernel } from '../../kernel/define-kernel.ts';
import { scaleFunction } from '../../wgsl/block-reader.ts';
import type { CodeFormat } from './code-pairs.wgsl.ts';
import { codePairs, halfFactor } from './code-pairs.wgsl.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearBindings, linearUniforms, matricesOf, slotFunctions, slotsName } from './linear-slots.ts';
import type { MatmulConstants, MatmulCut } from './matmul.wgsl.ts';
import { matmulLanes, matmulSide as side, matmulTile } from './matmul.wgsl.ts';
import { rowLayout } from './prepared-rows.wgsl.ts';
import { blockPieces, rowBlockCount } from './stage-rows.wgsl.ts';
import { tilePlaceWgsl } from './tile-walk.ts';

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Arithmetic of the kernel. */
type TileArithmetic = 'f16' | 'i8';

interface Sizes {
  readonly arithmetic: TileArithmetic;
  readonly format: CodeFormat;
  readonly blocks: number;
  readonly pieces: number;
  /** Vectors of 16 bytes of a prepared row, and where its steps begin. */
  readonly vectors: number;
  readonly stepsAt: number;
  /** Rows of `x`, and of the weight, in a tile; pieces of one kind lie one further apart. */
  readonly tileRows: number;
  readonly tileWeights: number;
}

function sizesOf({ slots, cut }: MatmulConstants): Sizes {
  const arithmetic = cut.arithmetic as TileArithmetic;
  return {
    arithmetic,
    format: slots.format as CodeFormat,
    blocks: rowBlockCount(slots.width),
    pieces: blockPieces[arithmetic],
    ...rowLayout({ arithmetic, lanes: 1, width: slots.width, norm: undefined }),
    tileRows: side * cut.rows,
    tileWeights: side * cut.outputs * matricesOf(slots),
  };
}

/** A piece of decoded codes from words of a block, or both pieces of integers; `name` is the lane's own, fetched before. */
const decoded: Readonly<Record<TileArithmetic, Readonly<Record<CodeFormat, readonly string[]>>>> = {
  f16: {
    q4: [
      'vec4<u32>(bitcast<u32>(lowPair(w0)), bitcast<u32>(lowPair(w0 >> 8u)), bitcast<u32>(highPair(w0)), bitcast<u32>(highPair(w0 >> 8u)))',
    ],
    q8: [
      'vec4<u32>(bitcast<u32>(bytePair(w0)), bitcast<u32>(bytePair(w0 >> 8u)), bitcast<u32>(bytePair(w1)), bitcast<u32>(bytePair(w1 >> 8u)))',
    ],
  },
  i8: {
    q4: ['w0 & vec4<u32>(0x0f0f0f0fu)', '(w0 >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu)'],
    q8: ['w0', 'w1'],
  },
};

/** Loads of the next block into registers, and their way to workgroup memory. */
function stages({ slots, cut }: MatmulConstants, sizes: Sizes): { declare: string; fetch: string; store: string } {
  const { arithmetic, format, blocks, pieces, vectors, stepsAt, tileRows, tileWeights } = sizes;
  const rowItems = tileRows * pieces;
  const perBlock = arithmetic === 'f16' ? 4 : 1;
  const weightItems = tileWeights * perBlock;
  const word = arithmetic === 'f16' ? 'u32' : 'vec4<u32>';
  const words = format === 'q4' ? 1 : 2;
  const stride = arithmetic === 'f16' ? 4 * words : words;
  const half = side * cut.outputs;
  const rows = range(Math.ceil(rowItems / matmulLanes)).map((i) => {
    const item = `(local + ${i * matmulLanes}u)`;
    const [row, piece] = [`(${item} / ${pieces}u)`, `(${item} % ${pieces}u)`];
    const guard = (text: string) =>
      (i + 1) * matmulLanes <= rowItems ? text : `if (${item} < ${rowItems}u) { ${text} }`;
    return {
      declare: `var x${i} = vec4<u32>(0u);`,
      fetch: guard(`x${i} = x[min(firstRow + ${row}, u.rows - 1u) * ${vectors}u + block * ${pieces}u + ${piece}];`),
      store: guard(`xs[${piece} * ${tileRows + 1}u + ${row}] = x${i};`),
    };
  });
  const weights = {
    declare: [
      ...range(words).map((v) => `var w${v} = ${word}(0u);`),
      'var scale = 0.0;',
      ...(arithmetic === 'i8' ? ['var step = vec2<u32>(0u);'] : []),
      `let weightAt = local / ${perBlock}u;`,
      `let weightRow = min(firstOutput + weightAt % ${half}u, ${slots.outputs - 1}u) + (weightAt / ${half}u) * ${slots.outputs}u + ${slots.rowOffset}u;`,
      `let scaleRow = min(firstOutput + local % ${half}u, ${slots.outputs - 1}u) + (local / ${half}u) * ${slots.outputs}u + ${slots.rowOffset}u;`,
    ].join('\n  '),
    fetch: [
      `if (local < ${weightItems}u) { ${range(words)
        .map(
          (v) =>
            `w${v} = codes[(weightRow * ${blocks}u + block) * ${stride}u + local % ${perBlock}u + ${v * perBlock}u];`,
        )
        .join(' ')} }`,
      `if (local < ${tileWeights}u) { scale = weightScale(scaleRow, block)${arithmetic === 'f16' ? ` * ${halfFactor[format]}.0` : ''}; }`,
      ...(arithmetic === 'i8'
        ? [
            `if (local < ${tileRows}u) { let pair = x[min(firstRow + local, u.rows - 1u) * ${vectors}u + ${stepsAt}u + block / 2u]; step = select(pair.xy, pair.zw, block % 2u == 1u); }`,
          ]
        : []),
    ].join('\n    '),
    store: [
      `if (local < ${weightItems}u) { ${decoded[arithmetic][format]
        .map((piece, i) => `ws[(local % ${perBlock}u + ${i}u) * ${tileWeights + 1}u + weightAt] = ${piece};`)
        .join(' ')} }`,
      `if (local < ${tileWeights}u) { scales_[local] = scale; }`,
      ...(arithmetic === 'i8' ? [`if (local < ${tileRows}u) { steps[local] = step; }`] : []),
    ].join('\n    '),
  };
  const all = [...rows, weights];
  const of = (part: 'declare' | 'fetch' | 'store') => all.map((stage) => stage[part]).join('\n    ');
  return { declare: of('declare'), fetch: of('fetch'), store: of('store') };
}

/** Products of a block for each of a lane's outputs and rows, and their way into the f32 sums. */
function products(
  { slots, cut }: MatmulConstants,
  { arithmetic, format, pieces, tileRows, tileWeights }: Sizes,
): string {
  const [rows, outputs] = [range(cut.rows), range(cut.outputs)];
  const weights = range(matricesOf(slots)).flatMap((matrix) => outputs.map((n) => [matrix, n] as const));
  const at = (matrix: number, n: number) => `across + ${(matrix * cut.outputs + n) * side}u`;
  const each = (text: (matrix: number, n: number, m: number) => string) =>
    weights.flatMap(([matrix, n]) => rows.map((m) => text(matrix, n, m)));
  const begin = {
    f16: 'vec2<f16>(0.0h)',
    i8: format === 'q4' ? 'bitcast<i32>(step@.y) * -8i' : '0i',
  }[arithmetic];
  const term = {
    f16: (t: string, w: string, x: string) => `${t} = fma(bitcast<vec2<f16>>(${w}), bitcast<vec2<f16>>(${x}), ${t});`,
    i8: (t: string, w: string, x: string) => `${t} += dot4I8Packed(${w}, ${x});`,
  }[arithmetic];
  const total = {
    f16: (t: string, scale: string) => [`f32(${t}.x) + f32(${t}.y)`, scale],
    i8: (t: string, scale: string, m: number) => [`f32(${t})`, `${scale} * bitcast<f32>(step${m}.x)`],
  }[arithmetic];
  return [
    ...(arithmetic === 'i8' ? rows.map((m) => `let step${m} = steps[down + ${m * side}u];`) : []),
    ...each((matrix, n, m) => `var t${matrix}_${n}_${m} = ${begin.replace('@', String(m))};`),
    `for (var piece = 0u; piece < ${pieces}u; piece++) {`,
    ...rows.map((m) => `  let row${m} = xs[piece * ${tileRows + 1}u + down + ${m * side}u];`),
    ...weights.flatMap(([matrix, n]) => [
      `  { let w = ws[piece * ${tileWeights + 1}u + ${at(matrix, n)}];`,
      ...rows.map(
        (m) => `    ${[...'xyzw'].map((c) => term(`t${matrix}_${n}_${m}`, `w.${c}`, `row${m}.${c}`)).join(' ')}`,
      ),
      '  }',
    ]),
    '}',
    ...weights.map(([matrix, n]) => `let scale${matrix}_${n} = scales_[${at(matrix, n)}];`),
    ...each((matrix, n, m) => {
      const [value, factor] = total(`t${matrix}_${n}_${m}`, `scale${matrix}_${n}`, m);
      return `sum${matrix}_${n}_${m} = fma(${value}, ${factor}, sum${matrix}_${n}_${m});`;
    }),
  ].join('\n    ');
}

function matmulBlocksWgsl(constants: MatmulConstants): string {
  const { slots, cut } = constants;
  const sizes = sizesOf(constants);
  const { arithmetic, format, blocks, pieces, tileRows, tileWeights } = sizes;
  const { declare, fetch, store } = stages(constants, sizes);
  const finish = range(cut.outputs).flatMap((n) =>
    range(cut.rows).map((m) => {
      const made = slots.gate === undefined ? `sum0_${n}_${m}` : `vec2<f32>(sum0_${n}_${m}, sum1_${n}_${m})`;
      const [row, output] = [`firstRow + down + ${m * side}u`, `firstOutput + across + ${n * side}u`];
      return `if (${row} < u.rows && ${output} < ${slots.outputs}u) { finish(${row}, ${output}, ${made}, 0.0); }`;
    }),
  );
  const sums = range(matricesOf(slots)).flatMap((matrix) =>
    range(cut.outputs).flatMap((n) => range(cut.rows).map((m) => `var sum${matrix}_${n}_${m} = 0.0;`)),
  );
  const readers = `${arithmetic === 'f16' ? codePairs[format] : ''}${scaleFunction(blocks, 1)}`;
  return /* wgsl */ `
${slotFunctions(slots, { readers })}
var<workgroup> xs: array<vec4<u32>, ${pieces * (tileRows + 1)}>;
var<workgroup> ws: array<vec4<u32>, ${pieces * (tileWeights + 1)}>;
var<workgroup> scales_: array<f32, ${tileWeights}>;
${arithmetic === 'i8' ? `var<workgroup> steps: array<vec2<u32>, ${tileRows}>;` : ''}
@compute @workgroup_size(${matmulLanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  ${tilePlaceWgsl(slots, matmulTile(cut))}
  let across = local % ${side}u;
  let down = local / ${side}u;
  ${sums.join(' ')}
  ${declare}
  var block = 0u;
  {
    ${fetch}
  }
  while (block < ${blocks}u) {
    workgroupBarrier();
    ${store}
    workgroupBarrier();
    block++;
    if (block < ${blocks}u) {
    ${fetch}
    }
    ${products(constants, sizes)}
  }
  ${finish.join('\n  ')}
}`;
}

/** The tiled kernel of whole blocks; `cut.arithmetic` is f16 or i8, and rows come from `prepareRowsKernel` with one lane. */
export function matmulBlocksKernel(slots: LinearSlots, cut: MatmulCut) {
  const half = cut.arithmetic === 'f16';
  return defineKernel({
    name: `arithmetic-${cut.arithmetic}-matmul-blocks-${slotsName(slots)}`,
    bindings: linearBindings(slots, {
      x: 'vec4<u32>',
      codes: half ? 'u32' : 'vec4<u32>',
    }),
    uniforms: linearUniforms,
    features: half ? ['shader-f16'] : [],
    wgsl: matmulBlocksWgsl,
  });
}
