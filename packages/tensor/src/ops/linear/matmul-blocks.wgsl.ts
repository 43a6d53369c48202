/**
 * The kernel of prefill in f16 and i8, over weights in q4 and q8: tiles as in `matmul.wgsl.ts`, some blocks of 32 values along K at a time.
 * Rows come prepared, and codes are decoded once for the tile. Products and the sum of a block are f16 or integers; blocks are added up in
 * f32.
 *
 * i8: a lane keeps a block of the rows that it has fewer of, of `x` or of the weight, and walks over the others.
 * f16: two rows of the weight are multiplied at once, each by the same value of `x`, so that half as many registers hold sums. They lie as
 * pairs in workgroup memory: row p of the first half of the tile's rows with row p of the second.
 */
import { defineKernel } from '../../kernel/define-kernel.ts';
import { scaleFunction } from '../../wgsl/block-reader.ts';
import type { BlockStage } from './block-stage.wgsl.ts';
import { blockWalkWgsl, rowStage, sharedStage, sourceRow } from './block-stage.wgsl.ts';
import type { CodeFormat } from './code-pairs.wgsl.ts';
import { codePairs, halfFactor } from './code-pairs.wgsl.ts';
import type { LinearSlots } from './linear-slots.ts';
import { linearBindings, linearUniforms, matricesOf, slotFunctions, slotsName } from './linear-slots.ts';
import type { MatmulConstants, MatmulCut } from './matmul.wgsl.ts';
import { matmulLanes, matmulSides, matmulTile } from './matmul.wgsl.ts';
import { rowLayout } from './prepared-rows.wgsl.ts';
import { blockPieces, rowBlockCount } from './stage-rows.wgsl.ts';
import type { Sides } from './tile-walk.ts';
import { lanePlaceWgsl, tilePlaceWgsl } from './tile-walk.ts';

const range = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Arithmetic of the kernel. */
type TileArithmetic = 'f16' | 'i8';

interface Sizes {
  readonly arithmetic: TileArithmetic;
  readonly format: CodeFormat;
  readonly lanes: number;
  readonly sides: Sides;
  /** Blocks of a row, and of a slice of it. */
  readonly blocks: number;
  readonly taken: number;
  /** Pieces of 16 bytes of a block, and of a slice of a row of `x`. */
  readonly pieces: number;
  readonly slice: number;
  /** Vectors of 16 bytes of a prepared row, and where its steps begin. */
  readonly vectors: number;
  readonly stepsAt: number;
  /** Rows of `x` of a tile, and of a lane. */
  readonly tileRows: number;
  readonly rows: number;
  /** Rows of the weight of a tile, and of a lane. */
  readonly tileWeights: number;
  readonly weights: number;
  /** Pieces of one place of the slice lie together, and those of the next so many further: lanes that store together are on different banks. */
  readonly xPitch: number;
  readonly wPitch: number;
}

function sizesOf({ slots, cut }: MatmulConstants): Sizes {
  const arithmetic = cut.arithmetic as TileArithmetic;
  const sides = matmulSides(cut);
  const taken = cut.depth / 32;
  const pieces = blockPieces[arithmetic];
  const weights = cut.outputs * matricesOf(slots);
  const [tileRows, tileWeights] = [sides.down * cut.rows, sides.across * weights];
  const apart = Math.max(1, 8 / (pieces * taken));
  return {
    arithmetic,
    format: slots.format as CodeFormat,
    lanes: matmulLanes(cut),
    sides,
    blocks: rowBlockCount(slots.width),
    taken,
    pieces,
    slice: pieces * taken,
    ...rowLayout({ arithmetic, lanes: 1, width: slots.width, norm: undefined }),
    tileRows,
    rows: cut.rows,
    tileWeights,
    weights,
    xPitch: tileRows + apart,
    wPitch: (arithmetic === 'f16' ? tileWeights / 2 : tileWeights) + apart,
  };
}

/** Pieces of the weight of a place of the slice. */
const weightPieces = { f16: 2, i8: 1 } as const;

/** Bytes of workgroup memory of the kernel. */
export function blocksMemoryBytes(constants: MatmulConstants): number {
  const { arithmetic, slice, xPitch, wPitch, taken, tileRows, tileWeights } = sizesOf(constants);
  const scalars = tileWeights + (arithmetic === 'i8' ? tileRows : 0);
  return slice * (xPitch + wPitch * weightPieces[arithmetic]) * 16 + taken * scalars * 4;
}

/**
 * Whether the kernel can be had for a cut: slices are whole, and f16 has pairs of rows.
 * @param cut - Of f16 or i8.
 */
export function isBlocksCut(slots: LinearSlots, cut: MatmulCut): boolean {
  const whole = rowBlockCount(slots.width) % (cut.depth / 32) === 0;
  return whole && (cut.arithmetic === 'i8' || (cut.outputs * matricesOf(slots)) % 2 === 0);
}

/** A number for each row of a tile and block of a slice, in workgroup memory; those of a lane are next to each other, by fours if it can be. */
interface Aside {
  readonly declaration: string;
  readonly put: (block: string, row: string, value: string) => string;
  /** Loads those of a lane at `place` of its side as `<name>0` and on. */
  readonly load: (block: string, place: string) => string;
}

function asideOf(name: string, { count, side, taken }: { count: number; side: number; taken: number }): Aside {
  if (count % 4 !== 0) {
    const at = (block: string, row: string) => `${name}Tile[${block} * ${count * side}u + ${row}]`;
    return {
      declaration: `var<workgroup> ${name}Tile: array<f32, ${taken * count * side}>;`,
      put: (block, row, value) => `${at(block, row)} = ${value};`,
      load: (block, place) =>
        range(count)
          .map((i) => `let ${name}${i} = ${at(block, `${place} + ${i * side}u`)};`)
          .join(' '),
    };
  }
  const fours = count / 4;
  return {
    declaration: `var<workgroup> ${name}Tile: array<vec4<f32>, ${taken * fours * side}>;`,
    put: (block, row, value) =>
      `${name}Tile[${block} * ${fours * side}u + ${row} / ${4 * side}u * ${side}u + ${row} % ${side}u][${row} / ${side}u % 4u] = ${value};`,
    load: (block, place) =>
      range(fours)
        .map((four) => {
          const vector = `${name}Four${four}`;
          const parts = [...'xyzw'].map((c, i) => `let ${name}${four * 4 + i} = ${vector}.${c};`);
          return `let ${vector} = ${name}Tile[${block} * ${fours * side}u + ${place} + ${four * side}u]; ${parts.join(' ')}`;
        })
        .join(' '),
  };
}

/** Steps of the blocks of `x`: four share a vector. */
const stepStage = ({ vectors, stepsAt, tileRows, lanes, taken }: Sizes, steps: Aside): BlockStage => {
  const each = Math.max(1, taken / 2);
  return sharedStage(tileRows * each, lanes, (item, i) => {
    const [row, pair] = [`(${item} / ${each}u)`, `${item} % ${each}u`];
    const four = (at: string) => `bitcast<vec4<f32>>(x[stepAt${i} + ${at} / 4u])`;
    return {
      declare: `var step${i} = vec2<f32>(0.0);
  let stepAt${i} = min(firstRow + ${row}, u.rows - 1u) * ${vectors}u + ${stepsAt}u;`,
      fetch:
        taken === 1
          ? `step${i} = vec2<f32>(${four('block')}[block % 4u]);`
          : `{ let at = block + ${pair} * 2u; let four = ${four('at')}; step${i} = select(four.xy, four.zw, (at & 2u) != 0u); }`,
      store: ['x', 'y']
        .slice(0, taken)
        .map((c, b) => steps.put(`(${pair} * 2u + ${b}u)`, row, `step${i}.${c}`))
        .join(' '),
    };
  });
};

const tileSource = ({ slots, cut }: MatmulConstants, row: string) => sourceRow(slots, matmulTile(cut).outputs, row);

/** Scales: two blocks of a row share a word, where slices hold an even number of them. */
function scaleStage(constants: MatmulConstants, sizes: Sizes, scales: Aside): BlockStage {
  const { arithmetic, format, blocks, taken, tileWeights, lanes } = sizes;
  const factor = arithmetic === 'f16' ? ` * ${halfFactor[format]}.0` : '';
  const each = Math.max(1, taken / 2);
  return sharedStage(tileWeights * each, lanes, (item, i) => {
    const [row, pair] = [`(${item} / ${each}u)`, `${item} % ${each}u`];
    const source = tileSource(constants, row);
    if (taken === 1) {
      return {
        declare: `var scale${i} = 0.0;
  let scaleAt${i} = ${source};`,
        fetch: `scale${i} = weightScale(scaleAt${i}, block)${factor};`,
        store: scales.put('0u', row, `scale${i}`),
      };
    }
    return {
      declare: `var scale${i} = vec2<f32>(0.0);
  let scaleAt${i} = ${source} * ${blocks / 2}u + ${pair};`,
      fetch: `scale${i} = unpack2x16float(scales[scaleAt${i} + block / 2u])${factor};`,
      store: ['x', 'y'].map((c, b) => scales.put(`(${pair} * 2u + ${b}u)`, row, `scale${i}.${c}`)).join(' '),
    };
  });
}

/** Codes as bytes: those of q4 less their zero of 8, with a bit above each so that none borrows from the next. */
const bytePieces: Readonly<Record<CodeFormat, readonly string[]>> = {
  q4: ['', ' >> vec4<u32>(4u)'].map(
    (shift) =>
      `((((w@${shift}) & vec4<u32>(0x0f0f0f0fu)) | vec4<u32>(0x80808080u)) - vec4<u32>(0x08080808u)) ^ vec4<u32>(0x80808080u)`,
  ),
  q8: ['w@'],
};

function byteWeights(
  constants: MatmulConstants,
  { format, blocks, taken, tileWeights, lanes, wPitch }: Sizes,
): BlockStage {
  const made = bytePieces[format];
  const each = (taken * 2) / made.length;
  return sharedStage(tileWeights * each, lanes, (item, i) => {
    const [row, place] = [`(${item} / ${each}u)`, `(${item} % ${each}u)`];
    return {
      declare: `var w${i} = vec4<u32>(0u);
  let wAt${i} = ${tileSource(constants, row)} * ${(blocks * each) / taken}u + ${place};`,
      fetch: `w${i} = codes[wAt${i} + block * ${each / taken}u];`,
      store: made
        .map((text, p) => {
          const at = `(${place} * ${made.length}u + ${p}u) * ${wPitch}u + ${row}`;
          return `ws[${at}] = ${text.replace('@', String(i))};`;
        })
        .join(' '),
    };
  });
}

/** Words of two rows, a pair of f16 for each of their codes: the four of the first quad, and the four of the second. */
const halfPieces: Readonly<Record<CodeFormat, readonly string[]>> = {
  q4: ['lowPair', 'highPair'].map((pair) =>
    ['low', 'low >> 8u', 'high', 'high >> 8u'].map((bits) => `${pair}(${bits})`).join(),
  ),
  q8: [0, 1].map((v) =>
    [`low${v}`, `low${v} >> 8u`, `high${v}`, `high${v} >> 8u`].map((bits) => `bytePair(${bits})`).join(),
  ),
};

function halfWeights(
  constants: MatmulConstants,
  { format, blocks, slice, tileWeights, lanes, wPitch }: Sizes,
): BlockStage {
  const words = format === 'q4' ? [''] : ['0', '1'];
  const pairs = tileWeights / 2;
  return sharedStage(pairs * slice, lanes, (item, i) => {
    const [pair, place] = [`(${item} / ${slice}u)`, `(${item} % ${slice}u)`];
    const column = words.length === 1 ? place : `(${place} / 4u * 8u + ${place} % 4u)`;
    const rows = [pair, `(${pair} + ${pairs}u)`];
    const each = (text: (row: 0 | 1, v: number) => string) =>
      words.flatMap((_, v) => ([0, 1] as const).map((row) => text(row, v))).join(' ');
    const halves = words.map((name, v) => {
      const [a, b] = [0, 1].map((row) => `w${i}_${row}_${v}`);
      return `let low${name} = (${a} & 0xffffu) | (${b} << 16u); let high${name} = (${a} >> 16u) | (${b} & 0xffff0000u);`;
    });
    const put = halfPieces[format].map((parts, quad) => {
      const made = parts.split(',').map((part) => `bitcast<u32>(${part})`);
      return `ws[(${quad * slice}u + ${place}) * ${wPitch}u + ${pair}] = vec4<u32>(${made.join(', ')});`;
    });
    return {
      declare: `${each((row, v) => `var w${i}_${row}_${v} = 0u;`)}
  ${rows.map((row, r) => `let wAt${i}_${r} = ${tileSource(constants, row)} * ${blocks * 4 * words.length}u + ${column};`).join(' ')}`,
      fetch: each((row, v) => `w${i}_${row}_${v} = codes[wAt${i}_${row} + block * ${4 * words.length}u + ${v * 4}u];`),
      store: `{ ${halves.join(' ')} ${put.join(' ')} }`,
    };
  });
}

// An integer added to the bits of this float is a float, from which the float is taken off without an error.
const [magic, magicBits] = ['12582912.0', '0x4b400000i'];

/** Integer products of block `b` of the slice. */
function byteProducts({ rows, weights, sides, xPitch, wPitch }: Sizes): string {
  const piece = {
    x: (m: number, p: number) => `xs[(b * 2u + ${p}u) * ${xPitch}u + down + ${m * sides.down}u]`,
    w: (n: number, p: number) => `ws[(b * 2u + ${p}u) * ${wPitch}u + across + ${n * sides.across}u]`,
  };
  const [kept, walked] = weights <= rows ? (['w', 'x'] as const) : (['x', 'w'] as const);
  const count = { x: rows, w: weights };
  const load = (side: 'x' | 'w', i: number) =>
    [0, 1].map((p) => `let ${side}${i}_${p} = ${piece[side](i, p)};`).join(' ');
  const products = (i: number) =>
    [0, 1].flatMap((p) =>
      [...'xyzw'].flatMap((c) =>
        range(count[kept]).map((j) => `t${j} += dot4I8Packed(${kept}${j}_${p}.${c}, ${walked}${i}_${p}.${c});`),
      ),
    );
  const add = (i: number, j: number) => {
    const [n, m] = kept === 'w' ? [j, i] : [i, j];
    return `sum${n}_${m} = fma((bitcast<f32>(t${j}) - ${magic}) * scale${n}, step${m}, sum${n}_${m});`;
  };
  return `${range(count[kept])
    .map((j) => load(kept, j))
    .join('\n      ')}
      ${range(count[walked])
        .map(
          (i) => `{
        ${load(walked, i)}
        ${range(count[kept])
          .map((j) => `var t${j} = ${magicBits};`)
          .join(' ')}
        ${products(i).join('\n        ')}
        ${range(count[kept])
          .map((j) => add(i, j))
          .join('\n        ')}
      }`,
        )
        .join('\n      ')}`;
}

// Values of a piece in the order of a pair's codes, by word and half.
const pieceOrder = ['x.x', 'y.x', 'x.y', 'y.y', 'z.x', 'w.x', 'z.y', 'w.y'].map((name) => name.split('.'));

/** Products in f16 of block `b` of the slice. */
function halfProducts({ rows, weights, sides, slice, xPitch, wPitch }: Sizes): string {
  const [all, pairs] = [range(rows), range(weights / 2)];
  const half = (vector: string, word: string) => `bitcast<vec2<f16>>(${vector}.${word})`;
  return `${pairs.flatMap((j) => all.map((m) => `var t${j}_${m} = vec2<f16>(0.0h);`)).join(' ')}
      for (var p = 0u; p < 4u; p++) {
        ${all.map((m) => `let x${m}_ = xs[(b * 4u + p) * ${xPitch}u + down + ${m * sides.down}u];`).join('\n        ')}
        ${pairs
          .map(
            (j) => `{
          let first = ws[(b * 4u + p) * ${wPitch}u + across + ${j * sides.across}u];
          let second = ws[(b * 4u + p + ${slice}u) * ${wPitch}u + across + ${j * sides.across}u];
          ${pieceOrder
            .flatMap(([word, part], k) => [
              `let w${k} = ${half(k < 4 ? 'first' : 'second', 'xyzw'[k % 4]!)};`,
              ...all.map((m) => `t${j}_${m} = fma(w${k}, vec2<f16>(${half(`x${m}_`, word!)}.${part}), t${j}_${m});`),
            ])
            .join('\n          ')}
        }`,
          )
          .join('\n        ')}
      }
      ${pairs
        .flatMap((j) =>
          ['x', 'y'].flatMap((c, h) => {
            const n = j + h * pairs.length;
            return all.map((m) => `sum${n}_${m} = fma(f32(t${j}_${m}.${c}), scale${n}, sum${n}_${m});`);
          }),
        )
        .join('\n      ')}`;
}

function matmulBlocksWgsl(constants: MatmulConstants): string {
  const { slots, cut } = constants;
  const sizes = sizesOf(constants);
  const { arithmetic, format, lanes, sides, blocks, taken, slice, rows, weights, xPitch, wPitch } = sizes;
  const half = arithmetic === 'f16';
  const scales = asideOf('scale', { count: weights, side: sides.across, taken });
  const steps = half ? undefined : asideOf('step', { count: rows, side: sides.down, taken });
  const stages = [
    rowStage({
      slice,
      vectors: sizes.vectors,
      rows: sizes.tileRows,
      lanes,
      put: ({ place, row }, piece) => `xs[${place} * ${xPitch}u + ${row}] = ${piece};`,
    }),
    (half ? halfWeights : byteWeights)(constants, sizes),
    scaleStage(constants, sizes, scales),
    ...(steps ? [stepStage(sizes, steps)] : []),
  ];
  const products = `for (var b = 0u; b < ${taken}u; b++) {
      ${scales.load('b', 'across')}
      ${steps?.load('b', 'down') ?? ''}
      ${half ? halfProducts(sizes) : byteProducts(sizes)}
    }`;
  const finish = range(cut.outputs).flatMap((n) =>
    range(rows).map((m) => {
      const made = slots.gate === undefined ? `sum${n}_${m}` : `vec2<f32>(sum${n}_${m}, sum${n + cut.outputs}_${m})`;
      const [row, output] = [`firstRow + down + ${m * sides.down}u`, `firstOutput + across + ${n * sides.across}u`];
      return `if (${row} < u.rows && ${output} < ${slots.outputs}u) { finish(${row}, ${output}, ${made}, 0.0); }`;
    }),
  );
  const sums = range(weights).flatMap((n) => range(rows).map((m) => `var sum${n}_${m} = 0.0;`));
  const readers = `${half ? codePairs[format] : ''}${taken === 1 ? scaleFunction(blocks, 1) : ''}`;
  return /* wgsl */ `
${slotFunctions(slots, { readers })}
var<workgroup> xs: array<vec4<u32>, ${slice * xPitch}>;
var<workgroup> ws: array<vec4<u32>, ${slice * weightPieces[arithmetic] * wPitch}>;
${scales.declaration}
${steps?.declaration ?? ''}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  ${tilePlaceWgsl(slots, matmulTile(cut))}
  ${lanePlaceWgsl(sides)}
  ${sums.join(' ')}
  ${blockWalkWgsl(stages, { width: slots.width, depth: cut.depth, slice }, products)}
  ${finish.join('\n  ')}
}`;
}

/**
 * The tiled kernel of whole blocks; `cut.arithmetic` is f16 or i8, and rows come from `prepareRowsKernel` with one lane. {@link isBlocksCut}
 * says of which cuts there is one.
 */
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
