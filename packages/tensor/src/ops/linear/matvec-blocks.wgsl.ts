/**
 * Few rows at once over weights in q4 and q8: as `matvec.wgsl.ts`, but a lane takes whole blocks of 32 values, loaded 16 bytes at a time,
 * and rows of `x` come from workgroup memory or prepared, so that what is done to them is not done again for each row of the weight.
 *
 * The order of every sum follows from the lanes along K and the arithmetic: lane k takes blocks k, k + lanes, … in that order, and lane
 * sums are added pairwise, neighbours first. R, C, the tiles staged, the blocks loaded ahead and the way lanes exchange sums change no
 * bit. Products and sums are f32 (a code times its scale is exact in f32); for f16 those of a block are f16, two chains of 16; for i8
 * they are integers, `x` being rounded to 8 bits in blocks of 32. Blocks are added up in f32.
 */
import type { Arithmetic } from '../../compile/lowering.ts';
import { defineKernel } from '../../kernel/define-kernel.ts';
import { scaleFunction } from '../../wgsl/block-reader.ts';
import { codeQuads } from '../../wgsl/weight-reader.ts';
import type { CodeFormat } from './code-pairs.wgsl.ts';
import { codePairs, halfFactor } from './code-pairs.wgsl.ts';
import type { LinearAccess, LinearSlots } from './linear-slots.ts';
import { linearBindings, linearUniforms, matricesOf, slotFunctions, slotsName, sumsSquares } from './linear-slots.ts';
import { matvecSubgroupWgsl } from './matvec-subgroup.wgsl.ts';
import type { MatvecConstants, MatvecCut, MatvecWalk } from './matvec.wgsl.ts';
import { keptBytes, keptFeatures, matvecMemoryBytes, matvecWgsl, sumName } from './matvec.wgsl.ts';
import { rowLayout, rowTiles } from './prepared-rows.wgsl.ts';
import {
  blockPieces,
  pieceType,
  rowBlockCount,
  squaresFunctions,
  stageFunction,
  stageWorkgroup,
} from './stage-rows.wgsl.ts';

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Whether lanes can take whole blocks of the matrix. */
export const walksBlocks = ({ format, width }: LinearSlots): boolean =>
  (format === 'q4' || format === 'q8') && width % 32 === 0;

/** Vectors of 16 bytes that a block's codes take. */
const codeVectors: Readonly<Record<CodeFormat, number>> = { q4: 1, q8: 2 };

/** Sizes that the kernel is made of. */
function sizes({ slots, cut }: MatvecConstants) {
  const arithmetic: Arithmetic = cut.arithmetic ?? 'f32';
  const format = slots.format as CodeFormat;
  const blocks = rowBlockCount(slots.width);
  const tiles = rowTiles(slots.width, cut.lanes);
  const staged = Math.min(cut.blocks!.tiles, tiles);
  const ahead = (staged === 0 ? tiles : staged) % cut.ahead === 0 ? cut.ahead : 1;
  return {
    arithmetic,
    format,
    blocks,
    tiles,
    staged,
    ahead,
    groups: Math.ceil(tiles / ahead),
    vectors: codeVectors[format],
    pieces: blockPieces[arithmetic],
    /** Staged pieces of one kind lie one further apart than there are lanes, so that those who write them use different banks. */
    pitch: cut.lanes + 1,
    /** Whether some lane of the last blocks has none. */
    ragged: tiles * cut.lanes !== blocks || tiles % ahead !== 0,
  };
}

/** Bytes of workgroup memory of the kernel. */
export function blockMemoryBytes(constants: MatvecConstants): number {
  const { slots, cut } = constants;
  const { arithmetic, staged, pieces, pitch } = sizes(constants);
  const stage = cut.rows * staged * (pieces * pitch * 16 + (arithmetic === 'i8' ? cut.lanes * 8 : 0));
  const squares = slots.norm ? cut.rows * stageWorkgroup * 4 : 0;
  return stage + squares + (cut.subgroups ? keptBytes(constants) : matvecMemoryBytes(constants));
}

/** How the kernel reads `x`: as it is, or prepared. */
function access(constants: MatvecConstants): LinearAccess {
  const { arithmetic, staged } = sizes(constants);
  const prepared = staged === 0;
  return {
    x: prepared ? pieceType[arithmetic] : 'vec4<f32>',
    codes: 'vec4<u32>',
    more: {},
  };
}

/** Names of what one group of loads holds. */
const codesName = (a: number, matrix: number, r: number, v = 0) => `codes${a}_${matrix}_${r}_${v}`;
const scaleName = (a: number, matrix: number, r: number) => `scale${a}_${matrix}_${r}`;

/** Parts of the walk that the arithmetics share. */
interface Walk {
  readonly constants: MatvecConstants;
  readonly sizes: ReturnType<typeof sizes>;
  /** Every (matrix, r). */
  readonly weights: readonly (readonly [matrix: number, r: number])[];
  readonly rows: readonly number[];
  /** WGSL that reads a piece of row m for block `a` of the group. */
  readonly piece: (a: number, m: number, piece: string | number) => string;
  /** WGSL that reads the step and sum of codes of row m. */
  readonly rowScale: (a: number, m: number) => string;
}

function walkOf(constants: MatvecConstants): Walk {
  const { slots, cut } = constants;
  const found = sizes(constants);
  const { staged, pieces, pitch } = found;
  const index = (piece: string | number) => (typeof piece === 'number' ? `${piece}u` : piece);
  const stagedAt = (a: number, m: number, piece: string | number) =>
    `stage[stageAt${a} + (${m * staged * pieces}u + ${index(piece)}) * ${pitch}u]`;
  const preparedAt = (a: number, m: number, piece: string | number) =>
    `x[rowAt${m} + tileAt${a} + ${index(piece)} * ${cut.lanes}u]`;
  return {
    constants,
    sizes: found,
    weights: range(matricesOf(slots)).flatMap((matrix) => range(cut.outputs).map((r) => [matrix, r] as const)),
    rows: range(cut.rows),
    piece: staged > 0 ? stagedAt : preparedAt,
    rowScale: (a, m) =>
      staged > 0
        ? `stageScales[stageTile${a} * ${cut.lanes}u + ${m * staged * cut.lanes}u + lane]`
        : `stepOf(row${m}, block${a})`,
  };
}

/** f32: four or eight values of a weight at a time, so that few registers are live. A code times its scale is exact. */
function productsF32({ sizes: { format, vectors }, weights, rows, piece }: Walk, a: number): string[] {
  const quads = format === 'q4' ? [0, 1] : [0];
  const at = (v: number, quad: number) => (format === 'q4' ? `(word + ${quad * 4}u)` : `(word + ${v * 4}u)`);
  return range(vectors).flatMap((v) => [
    '{',
    ...weights.map(([matrix, r]) => `var rest${matrix}_${r} = ${codesName(a, matrix, r, v)};`),
    'for (var word = 0u; word < 4u; word++) {',
    ...quads.flatMap((quad) => [
      ...weights.map(
        ([matrix, r]) =>
          `let w${quad}_${matrix}_${r} = weightQuad${quad}(rest${matrix}_${r}.x) * ${scaleName(a, matrix, r)};`,
      ),
      ...rows.flatMap((m) => [
        `let x${quad}_${m} = ${piece(a, m, at(v, quad))};`,
        ...[...'xyzw'].map((c) =>
          weights
            .map(([matrix, r]) => {
              const sum = sumName(matrix, r, m);
              return `${sum} = fma(w${quad}_${matrix}_${r}.${c}, x${quad}_${m}.${c}, ${sum});`;
            })
            .join(' '),
        ),
      ]),
    ]),
    ...weights.map(([matrix, r]) => `rest${matrix}_${r} = rest${matrix}_${r}.yzwx;`),
    '}',
    '}',
  ]);
}

/** f16: a block of each weight row decoded to pairs, then one chain of 16 pairs for each row of `x`. */
function productsF16({ sizes: { format, vectors }, weights, rows, piece }: Walk, a: number): string[] {
  const lines: string[] = [];
  const pairs = (matrix: number, r: number): string[] =>
    range(vectors).flatMap((v) =>
      [...'xyzw'].flatMap((c) => {
        const word = `${codesName(a, matrix, r, v)}.${c}`;
        return format === 'q4'
          ? [`lowPair(${word})`, `lowPair(${word} >> 8u)`, `highPair(${word})`, `highPair(${word} >> 8u)`]
          : [`bytePair(${word})`, `bytePair(${word} >> 8u)`];
      }),
    );
  // Where pair i of the block lies in the pieces: words of q4 hold quads i and i + 4, words of q8 one quad each.
  const place = (i: number) =>
    format === 'q4' ? `h${i >> 2}.${'xyzw'[i & 3]}` : `h${(i >> 1) & 3}.${'xyzw'[((i >> 3) << 1) | (i & 1)]}`;
  for (const [matrix, r] of weights) {
    lines.push(...pairs(matrix, r).map((pair, i) => `let p${matrix}_${r}_${i} = ${pair};`));
  }
  for (const m of rows) {
    lines.push('{', ...range(4).map((i) => `let h${i} = ${piece(a, m, i)};`));
    for (const [matrix, r] of weights) {
      const name = `p${matrix}_${r}_`;
      const sum = sumName(matrix, r, m);
      lines.push(
        `var t${matrix}_${r} = ${name}0 * bitcast<vec2<f16>>(${place(0)});`,
        ...range(15).map(
          (i) => `t${matrix}_${r} = fma(${name}${i + 1}, bitcast<vec2<f16>>(${place(i + 1)}), t${matrix}_${r});`,
        ),
        `${sum} = fma(f32(t${matrix}_${r}.x) + f32(t${matrix}_${r}.y), ${scaleName(a, matrix, r)}, ${sum});`,
      );
    }
    lines.push('}');
  }
  return lines;
}

/** i8: four products an instruction; the 8 that codes of q4 are stored above is taken off by the sum of the codes of `x`. */
function productsI8({ sizes: { format }, weights, rows, piece, rowScale }: Walk, a: number): string[] {
  const lines: string[] = [];
  for (const [matrix, r] of weights) {
    const of = (v: number) => codesName(a, matrix, r, v);
    const [low, high] =
      format === 'q4'
        ? [`${of(0)} & vec4<u32>(0x0f0f0f0fu)`, `(${of(0)} >> vec4<u32>(4u)) & vec4<u32>(0x0f0f0f0fu)`]
        : [of(0), of(1)];
    lines.push(`let low${matrix}_${r} = ${low};`, `let high${matrix}_${r} = ${high};`);
  }
  const begin = format === 'q4' ? 'bitcast<i32>(step.y) * -8i' : '0i';
  for (const m of rows) {
    lines.push(
      '{',
      `let first = ${piece(a, m, 0)};`,
      `let second = ${piece(a, m, 1)};`,
      `let step = ${rowScale(a, m)};`,
    );
    for (const [matrix, r] of weights) {
      const sum = sumName(matrix, r, m);
      const dots = (of: string, x: string) =>
        [...'xyzw'].map((c) => `dot4I8Packed(${of}${matrix}_${r}.${c}, ${x}.${c})`);
      lines.push(
        `let t${matrix}_${r} = ${[begin, ...dots('low', 'first'), ...dots('high', 'second')].join(' + ')};`,
        `${sum} = fma(f32(t${matrix}_${r}), ${scaleName(a, matrix, r)} * bitcast<f32>(step.x), ${sum});`,
      );
    }
    lines.push('}');
  }
  return lines;
}

const products: Readonly<Record<Arithmetic, (walk: Walk, a: number) => string[]>> = {
  f32: productsF32,
  f16: productsF16,
  i8: productsI8,
};

/** Stages the next tiles where a group begins them; its own loads are under way by then. */
function staging({ constants: { slots, cut }, sizes: { staged, ahead }, rows }: Walk): string[] {
  if (staged === 0) return [];
  const blocks = staged * cut.lanes;
  return [
    `if (group % ${staged / ahead}u == 0u) {`,
    '  workgroupBarrier();',
    ...rows.map((m) => {
      const call = `stageRow(row${m}, ${m}u, group * ${ahead * cut.lanes}u, ${blocks}u, local, squares${m})`;
      return sumsSquares(slots) ? `  squares${m} = ${call};` : `  _ = ${call};`;
    }),
    '  workgroupBarrier();',
    '}',
  ];
}

/** The layout of prepared rows as the kernel reads them. */
const layoutOf = ({ constants: { slots, cut }, sizes: { arithmetic } }: Pick<Walk, 'constants' | 'sizes'>) =>
  rowLayout({ arithmetic, lanes: cut.lanes, width: slots.width, norm: slots.norm });

function declarations(walk: Walk): string[] {
  const { constants, sizes: found, weights, rows } = walk;
  const { slots } = constants;
  const last = slots.outputs - 1;
  return [
    ...rows.flatMap((m) => [
      `let row${m} = min(firstRow + ${m}u, u.rows - 1u);`,
      found.staged > 0 ? `var squares${m} = 0.0;` : `let rowAt${m} = row${m} * ${layoutOf(walk).vectors}u + lane;`,
    ]),
    ...weights.flatMap(([matrix, r]) => [
      `let weight${matrix}_${r} = min(firstOutput + ${r}u, ${last}u) + ${slots.rowOffset + matrix * slots.outputs}u;`,
      ...rows.map((m) => `var ${sumName(matrix, r, m)} = 0.0;`),
    ]),
  ];
}

/** Loads the codes and scales of block `a` of a group, and says where its pieces of `x` lie. */
function loads({ constants: { cut }, sizes: found, weights }: Walk, a: number): string[] {
  const { blocks, staged, ahead, pieces, pitch, vectors, ragged, arithmetic, format } = found;
  const factor = arithmetic === 'f16' ? ` * ${halfFactor[format]}.0` : '';
  const tile = `group * ${ahead}u + ${a}u`;
  const stageTile = staged === ahead ? `${a}u` : `(group % ${staged / ahead}u) * ${ahead}u + ${a}u`;
  return [
    `let block${a} = (${tile}) * ${cut.lanes}u + lane;`,
    `let at${a} = ${ragged ? `min(block${a}, ${blocks - 1}u)` : `block${a}`};`,
    ...(staged > 0
      ? [`let stageTile${a} = ${stageTile};`, `let stageAt${a} = stageTile${a} * ${pieces * pitch}u + lane;`]
      : [`let tileAt${a} = (${tile}) * ${pieces * cut.lanes}u;`]),
    ...weights.flatMap(([matrix, r]) => [
      ...range(vectors).map(
        (v) =>
          `let ${codesName(a, matrix, r, v)} = codes[(weight${matrix}_${r} * ${blocks}u + at${a}) * ${vectors}u + ${v}u];`,
      ),
      `let ${scaleName(a, matrix, r)} = weightScale(weight${matrix}_${r}, at${a})${factor};`,
    ]),
  ];
}

function blockLoop(walk: Walk): string {
  const { constants, sizes: found, rows } = walk;
  const { slots } = constants;
  const aheads = range(found.ahead);
  return [
    ...declarations(walk),
    `for (var group = 0u; group < ${found.groups}u; group++) {`,
    ...aheads.flatMap((a) => loads(walk, a)),
    ...staging(walk),
    ...aheads.flatMap((a) => [
      found.ragged ? `if (block${a} < ${found.blocks}u) {` : '{',
      ...products[found.arithmetic](walk, a).map((line) => `  ${line}`),
      '}',
    ]),
    '}',
    ...(sumsSquares(slots)
      ? [...rows.map((m) => `squareParts[${m * stageWorkgroup}u + local] = squares${m};`), 'addSquares(local);']
      : []),
    ...(slots.norm?.prepared ? ['gatherSquares(firstRow, local);', 'addSquares(local);'] : []),
  ].join('\n  ');
}

/**
 * WGSL `gatherSquares(firstRow, local)`: leaves in `squareParts` what the invocations that stage rows would have: of invocation g, the sums
 * of items g, g + 128, … in their order.
 */
function gatherSquaresWgsl(walk: Walk): string {
  const { constants, sizes: found } = walk;
  const { slots, cut } = constants;
  const { vectors, squaresAt } = layoutOf(walk);
  const { arithmetic, blocks } = found;
  const row = (m: string) => `min(firstRow + ${m}, u.rows - 1u) * ${vectors}u + ${squaresAt}u`;
  const byBlock = () => `
  for (var item = local; item < ${cut.rows * stageWorkgroup}u; item += ${cut.workgroup}u) {
    let from_ = ${row(`item / ${stageWorkgroup}u`)};
    var sum = 0.0;
    for (var block = item % ${stageWorkgroup}u; block < ${blocks}u; block += ${stageWorkgroup}u) {
      sum += bitcast<f32>(x[from_ + block / 4u][block % 4u]);
    }
    squareParts[item] = sum;
  }`;
  // Four neighbouring invocations at a time: in f32 each takes a quad, in f16 two that lie four apart.
  const columns = stageWorkgroup / 4;
  const [steps, add] =
    arithmetic === 'f32'
      ? [slots.width / 16, 'sums += x[from_ + step];']
      : [
          blocks,
          'sums += bitcast<vec4<f32>>(x[from_ + 2u * step]); sums += bitcast<vec4<f32>>(x[from_ + 2u * step + 1u]);',
        ];
  const byQuad = () => `
  for (var item = local; item < ${cut.rows * columns}u; item += ${cut.workgroup}u) {
    let from_ = ${row(`item / ${columns}u`)};
    var sums = vec4<f32>(0.0);
    for (var step = item % ${columns}u; step < ${steps}u; step += ${columns}u) { ${add} }
    ${range(4)
      .map((i) => `squareParts[item * 4u + ${i}u] = sums[${i}];`)
      .join(' ')}
  }`;
  return /* wgsl */ `
fn gatherSquares(firstRow: u32, local: u32) {
  ${arithmetic === 'i8' ? byBlock() : byQuad()}
}`;
}

/** WGSL of the readers of prepared rows besides their pieces. */
function preparedWgsl(walk: Walk): string {
  const { constants, sizes: found } = walk;
  const { slots, cut } = constants;
  if (found.staged > 0) return '';
  const { vectors, stepsAt } = layoutOf(walk);
  const steps = /* wgsl */ `
fn stepOf(row: u32, block: u32) -> vec2<u32> {
  let pair = x[row * ${vectors}u + ${stepsAt}u + block / 2u];
  return select(pair.xy, pair.zw, block % 2u == 1u);
}`;
  const squares = () => `${squaresFunctions(cut.rows, cut.workgroup)}${gatherSquaresWgsl(walk)}`;
  return `${found.arithmetic === 'i8' ? steps : ''}${slots.norm ? squares() : ''}`;
}

/** WGSL of the stage in workgroup memory, and what fills it. */
function stageWgsl({ constants: { slots, cut }, sizes: { arithmetic, staged, pieces, pitch } }: Walk): string {
  if (staged === 0) return '';
  const { lanes, rows } = cut;
  const scales = /* wgsl */ `
var<workgroup> stageScales: array<vec2<u32>, ${rows * staged * lanes}>;
fn putScale(m: u32, block: u32, value: vec2<u32>) { stageScales[m * ${staged * lanes}u + block] = value; }`;
  return /* wgsl */ `
var<workgroup> stage: array<${pieceType[arithmetic]}, ${rows * staged * pieces * pitch}>;
fn put(m: u32, block: u32, piece: u32, value: ${pieceType[arithmetic]}) {
  stage[((m * ${staged}u + block / ${lanes}u) * ${pieces}u + piece) * ${pitch}u + block % ${lanes}u] = value;
}
${arithmetic === 'i8' ? scales : ''}
${stageFunction({ arithmetic, width: slots.width, norm: slots.norm })}
${sumsSquares(slots) ? squaresFunctions(rows) : ''}`;
}

function blockWalk(constants: MatvecConstants): MatvecWalk {
  const walk = walkOf(constants);
  const { arithmetic, format, blocks } = walk.sizes;
  const decode = { f32: codeQuads[format], f16: codePairs[format], i8: '' }[arithmetic];
  const readers = [decode, scaleFunction(blocks, 1), stageWgsl(walk), preparedWgsl(walk)].join('\n');
  return {
    functions: slotFunctions(constants.slots, { readers }),
    loop: blockLoop(walk),
    squares: (m) => `squareTotal(${m})`,
  };
}

/**
 * The kernel of whole blocks for these slots and this cut; `cut.blocks` is given, and `cut.workgroup` is {@link stageWorkgroup} where it stages
 * rows.
 */
export function matvecBlocksKernel(slots: LinearSlots, cut: MatvecCut) {
  const arithmetic = cut.arithmetic === undefined || cut.arithmetic === 'f32' ? '' : `arithmetic-${cut.arithmetic}-`;
  const source = cut.blocks!.tiles === 0 ? '-prepared' : '';
  const half = cut.arithmetic === 'f16' ? (['shader-f16'] as const) : [];
  return defineKernel({
    name: `${arithmetic}matvec-blocks-${slotsName(slots)}-${cut.lanes}-lanes${source}${cut.subgroups ? '-subgroups' : ''}`,
    bindings: linearBindings(slots, access({ slots, cut })),
    uniforms: linearUniforms,
    features: [...new Set([...half, ...keptFeatures(slots), ...(cut.subgroups ? (['subgroups'] as const) : [])])],
    wgsl: (constants: MatvecConstants) =>
      constants.cut.subgroups
        ? matvecSubgroupWgsl(constants, blockWalk(constants))
        : matvecWgsl(constants, blockWalk(constants)),
  });
}
