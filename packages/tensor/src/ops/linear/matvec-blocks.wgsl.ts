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
  const prepared = staged === 0;
  const ahead = prepared ? Math.min(cut.ahead, tiles) : staged % cut.ahead === 0 ? cut.ahead : 1;
  /** Whether some lane of the last blocks has none. */
  const ragged = tiles * cut.lanes !== blocks;
  // Tiles behind the last whole group; the last tile is among them where not all lanes have a block of it.
  const rest = prepared ? (ragged ? ((tiles - 1) % ahead) + 1 : tiles % ahead) : 0;
  return {
    arithmetic,
    format,
    blocks,
    tiles,
    staged,
    ahead,
    rest,
    groups: prepared ? (tiles - rest) / ahead : Math.ceil(tiles / ahead),
    /** Whether codes of the next group are loaded before those at hand are used. */
    next: cut.blocks!.next === true && prepared && !ragged && rest === 0 && tiles > ahead,
    /** Whether a block's place in its pair is that of its lane. */
    paired: blocks % 2 === 0 && cut.lanes % 2 === 0,
    layout: rowLayout({ arithmetic, lanes: cut.lanes, width: slots.width, norm: slots.norm }),
    vectors: codeVectors[format],
    pieces: blockPieces[arithmetic],
    /** Staged pieces of one kind lie one further apart than there are lanes, so that those who write them use different banks. */
    pitch: cut.lanes + 1,
    ragged: ragged || (!prepared && tiles % ahead !== 0),
  };
}

/** Bytes of workgroup memory of the kernel. */
export function blockMemoryBytes(constants: MatvecConstants): number {
  const { slots, cut } = constants;
  const { arithmetic, staged, pieces, pitch } = sizes(constants);
  const stage = cut.rows * staged * (pieces * pitch * 16 + (arithmetic === 'i8' ? cut.lanes * 4 : 0));
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
  /** WGSL that reads the step of a block of row m. */
  readonly rowScale: (a: number, m: number) => string;
}

function walkOf(constants: MatvecConstants): Walk {
  const { slots, cut } = constants;
  const found = sizes(constants);
  const { staged, pieces, pitch, layout } = found;
  const index = (piece: string | number) => (typeof piece === 'number' ? `${piece}u` : piece);
  const stagedAt = (a: number, m: number, piece: string | number) =>
    `stage[stageAt${a} + (${m * staged * pieces}u + ${index(piece)}) * ${pitch}u]`;
  const preparedAt = (a: number, m: number, piece: string | number) =>
    typeof piece === 'number'
      ? `x[tileAt${a} + ${m * layout.vectors + piece * cut.lanes}u]`
      : `x[tileAt${a} + ${m * layout.vectors}u + ${piece} * ${cut.lanes}u]`;
  const preparedStep = (a: number, m: number) =>
    `bitcast<f32>(x[stepsFrom + block${a} / 4u + ${m * layout.vectors}u][${cut.lanes % 4 === 0 ? 'stepWord' : `block${a} % 4u`}])`;
  return {
    constants,
    sizes: found,
    weights: range(matricesOf(slots)).flatMap((matrix) => range(cut.outputs).map((r) => [matrix, r] as const)),
    rows: range(cut.rows),
    piece: staged > 0 ? stagedAt : preparedAt,
    rowScale: (a, m) =>
      staged > 0
        ? `stageScales[stageTile${a} * ${cut.lanes}u + ${m * staged * cut.lanes}u + lane]`
        : preparedStep(a, m),
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

/** What codes of q4 are multiplied by in i8: they are taken as the upper halves of signed bytes. */
const nibbleFactor = 16;

/** The bits of 1.5 * 2^23 and that number: integers added to the bits are added to the number, up to 2^22. */
const [integerBits, integerOrigin] = ['0x4b400000i', '12582912.0'];

/** i8: four products an instruction, all of a block (below 2^20) added to the bits of a float that is then taken off, exactly. */
function productsI8({ sizes: { format }, weights, rows, piece, rowScale }: Walk, a: number): string[] {
  const lines: string[] = [];
  for (const [matrix, r] of weights) {
    const of = (v: number) => codesName(a, matrix, r, v);
    const signed = (nibbles: string) => `(${nibbles} & vec4<u32>(0xf0f0f0f0u)) ^ vec4<u32>(0x80808080u)`;
    const [low, high] = format === 'q4' ? [signed(`(${of(0)} << vec4<u32>(4u))`), signed(of(0))] : [of(0), of(1)];
    lines.push(`let low${matrix}_${r} = ${low};`, `let high${matrix}_${r} = ${high};`);
  }
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
        `let t${matrix}_${r} = bitcast<f32>(${[integerBits, ...dots('low', 'first'), ...dots('high', 'second')].join(' + ')}) - ${integerOrigin};`,
        `${sum} = fma(t${matrix}_${r}, ${scaleName(a, matrix, r)} * step, ${sum});`,
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

/** Whether rows of the weight that a lane carries follow each other without exception. */
const wholeOutputs = ({ slots, cut }: MatvecConstants) => slots.outputs % cut.outputs === 0;

/** WGSL of the first block of a row of the weight. */
const weightAt = (constants: MatvecConstants, blocks: number, [matrix, r]: readonly [number, number]) =>
  wholeOutputs(constants) ? `weightAt${matrix} + ${r * blocks}u` : `weightAt${matrix}_${r}`;

function declarations({ constants, sizes: found, weights, rows }: Walk): string[] {
  const { slots, cut } = constants;
  const { blocks, layout, staged, paired, arithmetic } = found;
  const first = (matrix: number) => slots.rowOffset + matrix * slots.outputs;
  return [
    ...(paired ? ['let half = lane % 2u * 16u;'] : []),
    ...(staged > 0
      ? rows.flatMap((m) => [`let row${m} = min(firstRow + ${m}u, u.rows - 1u);`, `var squares${m} = 0.0;`])
      : // Past the last row something is read that nobody uses.
        [
          `let rowsFrom = firstRow * ${layout.vectors}u + lane;`,
          ...(arithmetic === 'i8' ? [`let stepsFrom = firstRow * ${layout.vectors}u + ${layout.stepsAt}u;`] : []),
          ...(arithmetic === 'i8' && cut.lanes % 4 === 0 ? ['let stepWord = lane % 4u;'] : []),
        ]),
    ...(wholeOutputs(constants)
      ? range(matricesOf(slots)).map(
          (matrix) =>
            `let weightAt${matrix} = (min(firstOutput, ${slots.outputs - cut.outputs}u) + ${first(matrix)}u) * ${blocks}u;`,
        )
      : weights.map(
          ([matrix, r]) =>
            `let weightAt${matrix}_${r} = (min(firstOutput + ${r}u, ${slots.outputs - 1}u) + ${first(matrix)}u) * ${blocks}u;`,
        )),
    ...weights.flatMap(([matrix, r]) => rows.map((m) => `var ${sumName(matrix, r, m)} = 0.0;`)),
  ];
}

/** WGSL of what is loaded of a weight row, by its name, for the block in `at`. */
function loadsOf({ constants, sizes: found }: Walk, a: number, weight: readonly [number, number], at: string) {
  const { blocks, vectors, paired, arithmetic, format } = found;
  const factor = { f32: '', f16: ` * ${halfFactor[format]}.0`, i8: format === 'q4' ? ` * ${1 / nibbleFactor}` : '' };
  const index = `${weightAt(constants, blocks, weight)} + ${at}`;
  const scale = paired ? `unpack2x16float(scales[(${index}) >> 1u] >> half).x` : `scaleAt(${index})`;
  const code = (v: number) => (vectors === 1 ? index : `(${index}) * ${vectors}u + ${v}u`);
  return [
    ...range(vectors).map((v) => [codesName(a, ...weight, v), 'vec4<u32>', `codes[${code(v)}]`] as const),
    [scaleName(a, ...weight), 'f32', `${scale}${factor[arithmetic]}`] as const,
  ];
}

/** Says which block `a` of a group is, where its pieces of `x` lie, and loads its codes and scales unless that was done before. */
function loads(walk: Walk, a: number, options: { tile: string; clamped: boolean; loaded: boolean }): string[] {
  const { constants, sizes: found, weights } = walk;
  const { lanes } = constants.cut;
  const { blocks, staged, ahead, pieces, pitch } = found;
  const stageTile = staged === ahead ? `${a}u` : `(group % ${staged / ahead}u) * ${ahead}u + ${a}u`;
  return [
    `let block${a} = (${options.tile}) * ${lanes}u + lane;`,
    ...(staged > 0
      ? [`let stageTile${a} = ${stageTile};`, `let stageAt${a} = stageTile${a} * ${pieces * pitch}u + lane;`]
      : [`let tileAt${a} = rowsFrom + (${options.tile}) * ${pieces * lanes}u;`]),
    ...weights.flatMap((weight) => {
      if (options.loaded) return loadsOf(walk, a, weight, '').map(([name]) => `let ${name} = next_${name};`);
      const at = options.clamped ? `min(block${a}, ${blocks - 1}u)` : `block${a}`;
      return loadsOf(walk, a, weight, at).map(([name, , value]) => `let ${name} = ${value};`);
    }),
  ];
}

/** A group of tiles from `first`, a WGSL expression. */
function groupOf(walk: Walk, first: string, { count = walk.sizes.ahead, ragged = walk.sizes.ragged } = {}): string[] {
  const { constants, sizes: found, weights } = walk;
  const { lanes } = constants.cut;
  const { ahead, next, blocks, tiles } = found;
  const own = range(count);
  return [
    ...own.flatMap((a) => loads(walk, a, { tile: `${first} + ${a}u`, clamped: ragged, loaded: next })),
    ...(next
      ? own.flatMap((a) => [
          `let nextBlock${a} = min(${first} + ${ahead + a}u, ${tiles - 1}u) * ${lanes}u + lane;`,
          ...weights.flatMap((weight) =>
            loadsOf(walk, a, weight, `nextBlock${a}`).map(([name, , value]) => `next_${name} = ${value};`),
          ),
        ])
      : []),
    ...staging(walk),
    ...own.flatMap((a) => [
      ragged ? `if (block${a} < ${blocks}u) {` : '{',
      ...products[found.arithmetic](walk, a).map((line) => `  ${line}`),
      '}',
    ]),
  ];
}

function blockLoop(walk: Walk): string {
  const { constants, sizes: found, rows, weights } = walk;
  const { slots } = constants;
  const { ahead, groups, staged, ragged, rest, next } = found;
  const ownRagged = staged > 0 && ragged;
  const first = (tile: string) =>
    range(ahead).flatMap((a) =>
      weights.flatMap((w) => loadsOf(walk, a, w, `(${tile} + ${a}u) * ${constants.cut.lanes}u + lane`)),
    );
  return [
    ...declarations(walk),
    ...(next ? first('0u').map(([name, type, value]) => `var next_${name}: ${type} = ${value};`) : []),
    ...(groups > 1 || staged > 0
      ? [
          `for (var group = 0u; group < ${groups}u; group++) {`,
          ...groupOf(walk, `group * ${ahead}u`, { ragged: ownRagged }),
          '}',
        ]
      : groups === 1
        ? ['{', ...groupOf(walk, '0u', { ragged: false }), '}']
        : []),
    ...(rest > 0 ? ['{', ...groupOf(walk, `${groups * ahead}u`, { count: rest }), '}'] : []),
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
  const { arithmetic, blocks, layout } = found;
  const { vectors, squaresAt } = layout;
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
  return slots.norm ? `${squaresFunctions(cut.rows, cut.workgroup)}${gatherSquaresWgsl(walk)}` : '';
}

/** WGSL of the stage in workgroup memory, and what fills it. */
function stageWgsl({ constants: { slots, cut }, sizes: { arithmetic, staged, pieces, pitch } }: Walk): string {
  if (staged === 0) return '';
  const { lanes, rows } = cut;
  const scales = /* wgsl */ `
var<workgroup> stageScales: array<f32, ${rows * staged * lanes}>;
fn putScale(m: u32, block: u32, step: f32) { stageScales[m * ${staged * lanes}u + block] = step; }`;
  return /* wgsl */ `
var<workgroup> stage: array<${pieceType[arithmetic]}, ${rows * staged * pieces * pitch}>;
fn put(m: u32, block: u32, piece: u32, value: ${pieceType[arithmetic]}) {
  stage[((m * ${staged}u + block / ${lanes}u) * ${pieces}u + piece) * ${pitch}u + block % ${lanes}u] = value;
}
${arithmetic === 'i8' ? scales : ''}
${stageFunction({ arithmetic, width: slots.width, norm: slots.norm })}
${sumsSquares(slots) ? squaresFunctions(rows) : ''}`;
}

/** Scales lie in pairs. */
const scaleAtWgsl = /* wgsl */ `
fn scaleAt(index: u32) -> f32 { return unpack2x16float(scales[index >> 1u] >> (index % 2u * 16u)).x; }`;

function blockWalk(constants: MatvecConstants): MatvecWalk {
  const walk = walkOf(constants);
  const { arithmetic, format, paired } = walk.sizes;
  const decode = { f32: codeQuads[format], f16: codePairs[format], i8: '' }[arithmetic];
  const readers = [decode, paired ? '' : scaleAtWgsl, stageWgsl(walk), preparedWgsl(walk)].join('\n');
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
