import { defineKernel, read, write } from '@forerun/tensor';
import { loopBinding, loopWord } from '../loop-words/loop-words.ts';

/** Bits of a key that hold a position. */
export const positionBits = 24;
const positionMask = 2 ** positionBits - 1;

/** The low bits of a key for a position, and back: later positions give larger keys, or earlier ones. */
const positionKey = { latest: 'place', longest: 'place', earliest: `(${positionMask}u - place)` };

/**
 * One workgroup. Each invocation looks at every 256th place where a continuation could begin and compares backwards from there with
 * the end of the history; most differ at the first token. The best place is the largest key: length of the match, then position.
 */
export const nGramKernel = defineKernel({
  name: 'n-gram',
  bindings: { history: read('u32'), tokens: write('u32'), count: write('u32'), loopState: loopBinding },
  wgsl: (c: {
    width: number;
    capacity: number;
    longest: number;
    shortest: number;
    prefer: keyof typeof positionKey;
  }) => /* wgsl */ `
var<workgroup> best: atomic<u32>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  let end = min(${loopWord('length')} + 1u, ${c.capacity}u);
  for (var place = lane + 1u; place < end; place += 256u) {
    var matched = 0u;
    let most = min(${c.longest}u, place);
    while (matched < most && history[place - 1u - matched] == history[end - 1u - matched]) { matched++; }
    if (matched >= ${c.shortest}u) {
      atomicMax(&best, (matched << ${positionBits}u) | ${positionKey[c.prefer]});
    }
  }
  workgroupBarrier();
  let key = atomicLoad(&best);
  var place = key & ${positionMask}u;
  place = ${positionKey[c.prefer]};
  var drafts = 0u;
  if (key != 0u) { drafts = min(${c.width - 1}u, end - place); }
  if (lane < ${c.width}u) {
    var token = history[end - 1u];
    if (lane > 0u) { token = 0u; }
    if (lane > 0u && lane <= drafts) { token = history[place + lane - 1u]; }
    tokens[lane] = token;
  }
  if (lane == 0u) { count[0] = drafts + 1u; }
}`,
});
