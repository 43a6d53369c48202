import { defineKernel, read, write } from '@forerun/tensor';
import { separator } from '../retrieval/datastore.ts';

/** What kernels are made for. */
export interface ContinuationConstants {
  readonly places: number;
  readonly longest: number;
  readonly width: number;
  readonly factor: number;
  readonly offset: number;
  readonly minProbability: number;
}

/**
 * One invocation a place. Nodes that the place before shares begin there or further before; for the others, the places that share them
 * are those up to the first that differs, found by bisection since places are sorted.
 */
export const countKernel = defineKernel({
  name: 'count-continuations',
  bindings: { text: read('u32'), begins: read('u32'), found: read('u32'), counts: write('u32') },
  wgsl: ({ places, longest }: Pick<ContinuationConstants, 'places' | 'longest'>) => /* wgsl */ `
fn tokenAt(place: u32, depth: u32) -> u32 {
  let at = begins[place] + depth;
  if (at >= found[2]) { return ${separator}u; }
  return text[at];
}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let place = id.x;
  if (place >= ${places}u) { return; }
  let used = min(found[0], ${places}u);
  // Tokens that it has in common with the place before, which has those nodes.
  var alike = 0u;
  if (place > 0u && place < used) {
    while (alike < ${longest}u && tokenAt(place, alike) == tokenAt(place - 1u, alike)) { alike++; }
  }
  var end = used;
  var going = place < used;
  for (var depth = 0u; depth < ${longest}u; depth++) {
    var count = 0u;
    if (going) {
      let token = tokenAt(place, depth);
      going = token != ${separator}u;
      var low = place + 1u;
      while (low < end) {
        let middle = (low + end) / 2u;
        if (tokenAt(middle, depth) == token) { low = middle + 1u; } else { end = middle; }
      }
      if (going && depth >= alike) { count = end - place; }
    }
    counts[place * ${longest}u + depth] = count;
  }
}`,
});

const limitsWgsl = ({ places, longest, factor, offset, minProbability }: ContinuationConstants) => /* wgsl */ `
fn usedPlaces() -> u32 { return min(found[0], ${places}u); }
fn mostDepth() -> u32 {
  let allowed = ${(Number.isFinite(factor) ? factor : longest).toExponential()} * f32(found[1]) + ${offset.toExponential()};
  return u32(clamp(floor(allowed + 1e-4), 0.0, ${longest}.0));
}
fn isFrequent(count: u32) -> bool {
  return count > 0u && f32(count) * 1.000001 >= ${minProbability.toExponential()} * f32(usedPlaces());
}`;

/** What is picked besides the nodes: the anchor in front of them, nothing behind them. */
const pickRestWgsl = (width: number) => /* wgsl */ `
fn pickRest(lane: u32, lanes: u32, nodes: u32) {
  for (var row = nodes + 1u + lane; row < ${width}u; row += lanes) {
    picked[row * 3u] = 0u;
    picked[row * 3u + 1u] = 0u;
    picked[row * 3u + 2u] = 0u;
  }
  if (lane == 0u) {
    picked[0] = 0u;
    picked[1] = 0u;
    picked[2] = usedPlaces();
    rows[0] = nodes + 1u;
  }
}`;

/**
 * One workgroup. Nodes become distinct keys: count, then shallow, then first in order. The key of the last node that is taken is found bit
 * by bit, counting the keys above; the few nodes above it are then put in order.
 */
export const chooseTreeKernel = defineKernel({
  name: 'choose-continuation-tree',
  bindings: { found: read('u32'), counts: read('u32'), picked: write('u32'), rows: write('u32') },
  wgsl: (c: ContinuationConstants) => /* wgsl */ `
var<workgroup> above: array<atomic<u32>, 30>;
var<workgroup> taken: atomic<u32>;
var<workgroup> keys: array<u32, ${c.width}>;
${limitsWgsl(c)}
${pickRestWgsl(c.width)}
fn keyOf(count: u32, depth: u32, place: u32) -> u32 { return ((count - 1u) << 18u) | ((63u - depth) << 12u) | (4095u - place); }
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  let entries = usedPlaces() * ${c.longest}u;
  let depths = mostDepth();
  var threshold = 0u;
  for (var step = 0u; step < 30u; step++) {
    let trial = threshold | (1u << (29u - step));
    var mine = 0u;
    for (var entry = lane; entry < entries; entry += 256u) {
      let depth = entry % ${c.longest}u;
      if (depth < depths && isFrequent(counts[entry]) && keyOf(counts[entry], depth, entry / ${c.longest}u) >= trial) { mine++; }
    }
    if (mine > 0u) { atomicAdd(&above[step], mine); }
    workgroupBarrier();
    if (atomicLoad(&above[step]) >= ${Math.max(c.width - 1, 1)}u) { threshold = trial; }
  }
  for (var entry = lane; entry < entries; entry += 256u) {
    let depth = entry % ${c.longest}u;
    if (depth >= depths || !isFrequent(counts[entry])) { continue; }
    let key = keyOf(counts[entry], depth, entry / ${c.longest}u);
    if (key < threshold) { continue; }
    let slot = atomicAdd(&taken, 1u);
    if (slot < ${c.width - 1}u) { keys[slot] = key; }
  }
  workgroupBarrier();
  let nodes = min(atomicLoad(&taken), ${c.width - 1}u);
  for (var slot = lane; slot < nodes; slot += 256u) {
    let key = keys[slot];
    var row = 1u;
    for (var other = 0u; other < nodes; other++) { if (keys[other] > key) { row++; } }
    picked[row * 3u] = 4095u - (key & 4095u);
    picked[row * 3u + 1u] = 64u - ((key >> 12u) & 63u);
    picked[row * 3u + 2u] = (key >> 18u) + 1u;
  }
  pickRest(lane, 256u, nodes);
}`,
});

/** One workgroup. At each depth the most frequent node below the last one is taken, the first of equal ones. */
export const chooseChainKernel = defineKernel({
  name: 'choose-continuation-chain',
  bindings: { found: read('u32'), counts: read('u32'), picked: write('u32'), rows: write('u32') },
  wgsl: (c: ContinuationConstants) => /* wgsl */ `
var<workgroup> best: array<atomic<u32>, ${Math.max(Math.min(c.longest, c.width - 1), 1)}>;
${limitsWgsl(c)}
${pickRestWgsl(c.width)}
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let depths = mostDepth();
  var begin = 0u;
  var end = usedPlaces();
  var nodes = 0u;
  for (var depth = 0u; depth < ${Math.min(c.longest, c.width - 1)}u; depth++) {
    for (var place = begin + lane; place < end; place += 64u) {
      let count = counts[place * ${c.longest}u + depth];
      if (depth < depths && isFrequent(count)) { atomicMax(&best[depth], (count << 12u) | (4095u - place)); }
    }
    workgroupBarrier();
    let key = atomicLoad(&best[depth]);
    if (key == 0u) {
      end = begin;
    } else {
      nodes++;
      begin = 4095u - (key & 4095u);
      end = begin + (key >> 12u);
      if (lane == 0u) {
        picked[nodes * 3u] = begin;
        picked[nodes * 3u + 1u] = nodes;
        picked[nodes * 3u + 2u] = end - begin;
      }
    }
  }
  pickRest(lane, 64u, nodes);
}`,
});

/** One invocation a row: its token, and as its parent the row one depth above whose places hold its own. */
export const layOutKernel = defineKernel({
  name: 'lay-out-continuations',
  bindings: {
    text: read('u32'),
    begins: read('u32'),
    picked: read('u32'),
    rows: read('u32'),
    anchor: read('u32'),
    tokens: write('u32'),
    parents: write('u32'),
    depths: write('u32'),
  },
  wgsl: ({ width }: Pick<ContinuationConstants, 'width'>) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.x;
  if (row >= ${width}u) { return; }
  var token = 0u;
  var parent = 0u;
  let depth = picked[row * 3u + 1u];
  if (row == 0u) { token = anchor[0]; }
  if (row > 0u && row < rows[0]) {
    let place = picked[row * 3u];
    token = text[begins[place] + depth - 1u];
    for (var other = 1u; other < row; other++) {
      let first = picked[other * 3u];
      if (picked[other * 3u + 1u] + 1u == depth && first <= place && place < first + picked[other * 3u + 2u]) { parent = other; }
    }
  }
  tokens[row] = token;
  parents[row] = parent;
  depths[row] = depth;
}`,
});
