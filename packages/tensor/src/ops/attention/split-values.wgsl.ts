import type { BlockText } from './split.wgsl.ts';

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const each = (items: readonly number[], text: (i: number) => string, separator = '\n') =>
  items.map(text).join(separator);

/** WGSL of the last phase of a block, and which sums a lane has after it. */
export interface ValuesText {
  /** Before the first block. */
  readonly setup: string;
  /** Before the scores of a block. */
  readonly ahead: string;
  /** After the weights: `sum{k}` and `a{k}_{j}` of the queries that a lane owns. */
  readonly sums: string;
  /** Queries that a lane owns, as numbers in names. */
  readonly owned: readonly number[];
  /** WGSL of the query, and the statement that guards what is done for it. */
  readonly query: (k: number) => string;
  readonly guard: (k: number) => string;
  /** Vectors of a value that a lane owns, and a statement for one where there may be fewer. */
  readonly cols: readonly number[];
  readonly guarded: (j: number, text: string) => string;
}

/**
 * Weighted sums of a block's values. Groups of lanes take keys in turn, neighbouring lanes neighbouring vectors; then the sums of the groups are
 * added in order through workgroup memory, and each group goes on with some of the queries. With one group a lane has all queries.
 */
export function valuesWgsl(text: BlockText): ValuesText {
  const { c, parts, layout, queries, quads, ofRow, slot, pathSlot, rowEnd } = text;
  const { lanes, block, kvHeads, unroll, groupRows } = c;
  const { value, tree } = parts;
  const { groups, columns, round } = layout;
  const cols = range(groups > 1 ? 1 : Math.ceil(columns / lanes));
  const batch = Math.min(unroll, block / groups);
  const ahead = c.ahead && batch * groups === block;
  const guarded = (j: number, statement: string) => {
    if (groups > 1) return groups * columns === lanes ? statement : `if (group < ${groups}u) { ${statement} }`;
    return (j + 1) * lanes <= columns ? statement : `if (column + ${j * lanes}u < ${columns}u) { ${statement} }`;
  };
  /** Weight of a query, in the quad that a lane reads as a whole. */
  const weight = (n: number) => `w${n >> 2}.${'xyzw'[n & 3]}`;
  const load = (k: number, place: string) => `
      let at${k} = (${place} * ${kvHeads}u + kvHead) * ${columns}u + column;
${each(cols, (j) => `      ${guarded(j, `v${k}_${j} = ${value.load('values', `at${k} + ${j * lanes}u`)};`)}`)}`;
  const variables = (k: number) => each(cols, (j) => `      var v${k}_${j} = ${value.type}(0.0);`);
  const add = (of: readonly number[], k: number, seen: string) => `      {
${each(
  quads.filter((quad) => of.some((n) => n >> 2 === quad)),
  (quad) => `        let w${quad} = select(vec4<f32>(0.0), weights[i${k} * ${quads.length}u + ${quad}u], ${seen});`,
)}
${each(
  of,
  (n) => `        sum${n} += ${weight(n)};
${each(cols, (j) => `        a${n}_${j} = fma(${value.type}(${weight(n)}), v${k}_${j}, a${n}_${j});`)}`,
)}
      }`;
  const walk = (
    of: readonly number[],
    { begin, end, place }: { begin: string; end: string; place: (i: string) => string },
  ) => `
    for (var i = ${begin}; i < ${end}; i += ${batch * groups}u) {
${each(
  range(batch),
  (k) => `      let i${k} = min(i + ${k * groups}u, ${end} - 1u);
${variables(k)}${load(k, place(`i${k}`))}`,
)}
${each(range(batch), (k) => add(of, k, `i + ${k * groups}u < ${end}`))}
    }`;
  const first = groups > 1 ? 'group' : '0u';
  const sharedPlace = (i: string) => slot(`(blockBegin + ${i})`);
  const shared = ahead
    ? `{
${each(range(batch), (k) => add(queries, k, `${first} + ${k * groups}u < inShared`))}
    }`
    : walk(queries, { begin: first, end: 'inShared', place: sharedPlace });
  const rowBegin = groups > 1 ? `inShared + (group + ${groups}u - inShared % ${groups}u) % ${groups}u` : 'inShared';
  const ownRows = each(
    range(groupRows),
    (r) => `    let inRow${r} = min(${block}u, max(${rowEnd(r)}, blockBegin) - blockBegin);
${walk(ofRow(r), { begin: rowBegin, end: `inRow${r}`, place: (i) => pathSlot(r, `(blockBegin + ${i})`) })}`,
  );
  const sums = `${each(
    queries,
    (n) => `    var sum${n} = 0.0;
${each(cols, (j) => `    var a${n}_${j} = ${value.type}(0.0);`)}`,
  )}
${shared}
${tree ? ownRows : ''}`;
  const common = {
    ahead: ahead
      ? `${each(
          range(batch),
          (k) => `    let i${k} = min(${first} + ${k * groups}u, max(inShared, 1u) - 1u);
${variables(k)}`,
        )}
    if (inShared > 0u) {${each(range(batch), (k) => load(k, sharedPlace(`i${k}`)))}
    }`
      : '',
    cols,
    guarded,
  };
  if (groups === 1) {
    return {
      ...common,
      setup: '  let column = lane;',
      sums,
      owned: queries,
      query: (k) => `${k}u`,
      guard: () => '',
    };
  }
  const owned = range(Math.ceil(queries.length / groups));
  const query = (k: number) => `${k * groups}u + group`;
  const isOwner = (k: number) =>
    (k + 1) * groups <= queries.length && groups * columns === lanes
      ? ''
      : `if (group < ${Math.min(groups, queries.length - k * groups)}u)`;
  const pack = (name: string) =>
    value.width === 4
      ? name
      : `vec4<f32>(${range(4)
          .map((i) => (i < value.width ? value.component(name, i) : '0.0'))
          .join(', ')})`;
  const unpack = (name: string) => (value.width === 4 ? name : `${name}.${'xyzw'.slice(0, value.width)}`);
  const rounds = range(Math.ceil(queries.length / round)).map((index) => {
    const begin = index * round;
    const some = queries.slice(begin, begin + round);
    const k = Math.floor(begin / groups);
    const from = begin % groups;
    const at = (j: number) => `exchange[((group - ${from}u) * ${groups}u + ${j}u) * ${columns}u + column]`;
    return `    ${guarded(
      0,
      each(
        some,
        (n) => `exchange[(${(n - begin) * groups}u + group) * ${columns}u + column] = ${pack(`a${n}_0`)};
      if (column == 0u) { groupTotals[${n * groups}u + group] = sum${n}; }`,
      ),
    )}
    workgroupBarrier();
    if (group >= ${from}u && group < ${from + some.length}u) {
      own${k} = ${unpack(at(0))};
      ownSum${k} = groupTotals[(${query(k)}) * ${groups}u];
${each(
  range(groups).slice(1),
  (j) => `      own${k} += ${unpack(at(j))};
      ownSum${k} += groupTotals[(${query(k)}) * ${groups}u + ${j}u];`,
)}
    }
    workgroupBarrier();`;
  });
  return {
    ...common,
    setup: `  let group = lane / ${columns}u;
  let column = lane % ${columns}u;`,
    sums: `${each(
      owned,
      (k) => `    var own${k} = ${value.type}(0.0);
    var ownSum${k} = 0.0;`,
    )}
    {
${sums}
${rounds.join('\n')}
    }
${each(
  owned,
  (k) => `    let a${k}_0 = own${k};
    let sum${k} = ownSum${k};`,
)}`,
    owned,
    query,
    guard: isOwner,
  };
}
