import { largestDivisor } from './family.ts';
import type { BlockText } from './split.wgsl.ts';

const range = (count: number) => Array.from({ length: count }, (_, i) => i);
const each = (items: readonly number[], text: (i: number) => string, separator = '\n') =>
  items.map(text).join(separator);

/**
 * WGSL that scores a block's keys and turns scores into weights. The lanes of a key read neighbouring vectors, so that neighbouring lanes
 * read neighbouring memory; loads stand in front of what uses them, so that their latencies overlap.
 */
export function scoresWgsl(text: BlockText): string {
  const { c, quads } = text;
  const { lanes, block } = c;
  const reads = largestDivisor(block, c.unroll);
  const spread = `var quad = lane / ${block}u; quad < ${quads.length}u; quad += ${Math.max(1, Math.floor(lanes / block))}u`;
  const own = `var own = lane % ${block}u; own < ${block}u; own += ${lanes}u`;
  return /* wgsl */ `${dotsWgsl(text)}
    workgroupBarrier();
${c.keyLanes > 1 ? `${addedWgsl(text, { spread, own })}\n    workgroupBarrier();` : ''}
    for (${spread}) {
      var highest = vec4<f32>(lowest);
      for (var i = 0u; i < ${block}u; i += ${reads}u) {
${each(range(reads), (k) => `        highest = max(highest, scores[(i + ${k}u) * ${quads.length}u + quad]);`)}
      }
      for (${own}) {
        let s = scores[own * ${quads.length}u + quad];
        weights[own * ${quads.length}u + quad] = select(vec4<f32>(0.0), exp(s - highest), s > vec4<f32>(-1.0e38));
      }
      if (lane % ${block}u == 0u) { peaks[quad] = highest; }
    }`;
}

/** Scores of keys whose products lie in the exchange, lane by lane: each sum in order of lanes. */
function addedWgsl(text: BlockText, loops: { readonly spread: string; readonly own: string }): string {
  const { keyLanes, block } = text.c;
  const at = (part: number) => `exchange[(quad * ${keyLanes}u + ${part}u) * ${block + 1}u + own]`;
  return /* wgsl */ `
    for (${loops.spread}) {
      for (${loops.own}) {
        var s = ${at(0)};
${each(range(keyLanes).slice(1), (part) => `        s += ${at(part)};`)}
        ${scoreText(text, 's', 'blockBegin + own')}
      }
    }`;
}

/** Scores of a quad of queries from their products with the key `own`. */
function scoreText({ quads }: BlockText, products: string, position: string): string {
  const capped = [...'xyzw'].map((component) => `score(${products}.${component})`).join(', ');
  return `let seen = (seenBegins[quad] <= vec4<u32>(${position})) & (vec4<u32>(${position}) < seenEnds[quad]);
        scores[own * ${quads.length}u + quad] = select(vec4<f32>(lowest), vec4<f32>(${capped}), seen);`;
}

/** Products of all queries with the keys of each lane. */
function dotsWgsl(text: BlockText): string {
  const { c, parts, layout, queries, quads, ofRow, slot, pathSlot, rowEnd } = text;
  const { lanes, block, keyLanes, kvHeads, unroll, groupRows } = c;
  const { key, tree } = parts;
  const keyVectors = c.keyDim / key.width;
  const { queryVectors } = layout;
  const keysAtOnce = lanes / keyLanes;
  const perLane = queryVectors / keyLanes;
  const vectors = largestDivisor(perLane, unroll);
  const together = largestDivisor(
    Math.max(1, Math.floor(block / keysAtOnce)),
    Math.max(1, Math.floor(unroll / vectors)),
  );
  const own = range(together);
  const alone = together === 1;
  const vector = (k: number) =>
    queryVectors === keyVectors ? `i + ${k * keyLanes}u` : `min(i + ${k * keyLanes}u, ${keyVectors - 1}u)`;
  // A lane's vectors are dealt in turn; keys that are not there read one that is, and their scores are dropped.
  const dot = (of: readonly number[], which: readonly number[], at: (t: number) => string) => `
${each(which, (t) => `        let at${t} = (${at(t)} * ${kvHeads}u + kvHead) * ${keyVectors}u;`)}
        for (var i = part; i < ${queryVectors}u; i += ${vectors * keyLanes}u) {
${each(which, (t) => each(range(vectors), (k) => `          let part${t}_${k} = ${key.load('keys', `at${t} + ${vector(k)}`)};`))}
${each(range(vectors), (k) =>
  each(of, (n) =>
    which.length === 1
      ? `          s${which[0]}_${n} = fma(part${which[0]}_${k}, queries[${n * queryVectors + k * keyLanes}u + i], s${which[0]}_${n});`
      : `          let q${n}_${k} = queries[${n * queryVectors + k * keyLanes}u + i];
${each(which, (t) => `          s${t}_${n} = fma(part${t}_${k}, q${n}_${k}, s${t}_${n});`)}`,
  ),
)}
        }`;
  const dropped = (t: number) => `own${t} < ${block}u`;
  const ownRows = (t: number) => `
      if (position${t} >= shared_${keysAtOnce > block ? ` && ${dropped(t)}` : ''}) {
${each(queries, (n) => `        s${t}_${n} = ${key.type}(0.0);`)}
${each(range(groupRows), (r) => `        if (position${t} < ${rowEnd(r)}) { ${dot(ofRow(r), [t], () => pathSlot(r, `position${t}`))} }`)}
      }`;
  const quadOf = (quad: number, t: number) =>
    range(4)
      .map((k) => (4 * quad + k < queries.length ? key.sum(`s${t}_${4 * quad + k}`) : '0.0'))
      .join(', ');
  const keep = (t: number) =>
    keyLanes > 1
      ? each(
          quads,
          (quad) => `exchange[(${quad * keyLanes}u + part) * ${block + 1}u + own${t}] = vec4<f32>(${quadOf(quad, t)});`,
          '\n        ',
        )
      : each(
          quads,
          (quad) => `{
        let own = own${t};
        let quad = ${quad}u;
        let products = vec4<f32>(${quadOf(quad, t)});
        ${scoreText(text, 'products', `position${t}`)}
        }`,
        );
  return /* wgsl */ `
    for (var first = 0u; first < ${block}u; first += ${keysAtOnce * together}u) {
      ${keyLanes > 1 ? `let part = lane % ${keyLanes}u;` : 'let part = 0u;'}
${each(
  own,
  (t) => `      let own${t} = first + ${t * keysAtOnce}u + lane / ${keyLanes}u;
      let position${t} = blockBegin + own${t};
${each(queries, (n) => `      var s${t}_${n} = ${key.type}(0.0);`)}`,
)}
      if (${alone ? 'position0 < shared_' : 'blockBegin < shared_'}) {${dot(queries, own, (t) => slot(alone ? 'position0' : `min(position${t}, shared_ - 1u)`))}
      }
${tree ? each(own, ownRows) : ''}
${each(own, (t) => `      ${keysAtOnce > block ? `if (${dropped(t)}) { ${keep(t)} }` : keep(t)}`)}
    }`;
}
