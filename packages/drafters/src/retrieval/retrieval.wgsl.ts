import { loopBinding, loopWord } from '@forerun/contracts';
import { defineKernel, read, write } from '@forerun/tensor';
import { separator } from './datastore.ts';

/** What the look-up is made for. */
export interface LookUpConstants {
  readonly capacity: number;
  /** Tokens of the text. */
  readonly tokens: number;
  readonly longest: number;
  readonly shortest: number;
  /** Most places that it gives. */
  readonly places: number;
}

/**
 * One workgroup. Each invocation bisects the suffix array for one length of the end of the history; the longest that something follows
 * wins, and all of them write out its places, evenly thinned where there are too many.
 */
export const lookUpKernel = defineKernel({
  name: 'retrieval-look-up',
  bindings: {
    history: read('u32'),
    text: read('u32'),
    suffixes: read('u32'),
    begins: write('u32'),
    found: write('u32'),
    loopState: loopBinding,
  },
  wgsl: (c: LookUpConstants) => /* wgsl */ `
var<workgroup> matched: atomic<u32>;
var<workgroup> first: u32;
var<workgroup> total: u32;
// 0: the suffix begins with the last size tokens, 1: it comes before them, 2: behind.
fn compare(suffix: u32, size: u32, end: u32) -> u32 {
  for (var i = 0u; i < size; i++) {
    if (suffix + i >= ${c.tokens}u) { return 1u; }
    let theirs = text[suffix + i];
    let ours = history[end - size + i];
    if (theirs != ours) { return select(2u, 1u, theirs < ours); }
  }
  return 0u;
}
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let end = min(${loopWord('length')} + 1u, ${c.capacity}u);
  let size = ${c.shortest}u + lane;
  var begin = 0u;
  var after = 0u;
  if (size <= ${c.longest}u && size <= end) {
    var high = ${c.tokens}u;
    while (begin < high) {
      let middle = (begin + high) / 2u;
      if (compare(suffixes[middle], size, end) == 1u) { begin = middle + 1u; } else { high = middle; }
    }
    after = begin;
    high = ${c.tokens}u;
    while (after < high) {
      let middle = (after + high) / 2u;
      if (compare(suffixes[middle], size, end) == 0u) { after = middle + 1u; } else { high = middle; }
    }
    // Separators sort last, so the first place tells whether anything follows.
    if (after > begin && text[suffixes[begin] + size] != ${separator}u) { atomicMax(&matched, size); }
  }
  workgroupBarrier();
  let best = atomicLoad(&matched);
  if (best > 0u && size == best) {
    first = begin;
    total = after - begin;
  }
  workgroupBarrier();
  let used = min(total, ${c.places}u);
  for (var place = lane; place < ${c.places}u; place += 64u) {
    var at = 0u;
    if (place < used) {
      // place * total / used without overflow.
      let quotient = total / max(used, 1u);
      let rest = total % max(used, 1u);
      at = suffixes[first + place * quotient + (place * rest) / max(used, 1u)] + best;
    }
    begins[place] = at;
  }
  if (lane == 0u) {
    found[0] = used;
    found[1] = best;
    found[2] = ${c.tokens}u;
  }
}`,
});
