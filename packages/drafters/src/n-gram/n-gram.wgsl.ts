import { loopBinding, loopWord } from '@forerun/contracts';
import { defineKernel, read, write } from '@forerun/tensor';

/** Bits of a key that hold a position. */
export const positionBits = 24;
const positionMask = 2 ** positionBits - 1;

/** The low bits of a key for a position, and back: later positions give larger keys, or earlier ones. */
const positionKey = { latest: 'place', longest: 'place', earliest: `(${positionMask}u - place)` };

interface NGramConstants {
  readonly width: number;
  readonly capacity: number;
  readonly longest: number;
  readonly shortest: number;
  readonly prefer: keyof typeof positionKey;
  readonly before: number;
  readonly endTokens: readonly number[];
  readonly forbidden: readonly number[];
  readonly noRepeat: number;
}

/** WGSL condition that a token is one of a list. */
const isOneOf = (tokens: readonly number[]) => ['false', ...tokens.map((one) => `token == ${one}u`)].join(' || ');

/**
 * WGSL of `repeats(place, index, end) -> bool`: whether the token `index` places into the continuation would complete n tokens that
 * the history and the continuation up to it have already.
 */
const repeatsWgsl = {
  never: () => 'fn repeats(place: u32, index: u32, end: u32) -> bool { return false; }',
  checked: (n: number) => /* wgsl */ `
fn sequenceAt(at: u32, place: u32, end: u32) -> u32 {
  if (at < end) { return history[at]; }
  return history[place + at - end];
}
fn repeats(place: u32, index: u32, end: u32) -> bool {
  let length = end + index;
  for (var begin = 0u; begin + ${n}u <= length; begin++) {
    var same = 0u;
    while (same < ${n}u
      && sequenceAt(begin + same, place, end) == sequenceAt(length + 1u - ${n}u + same, place, end)) { same++; }
    if (same == ${n}u) { return true; }
  }
  return false;
}`,
};

/** WGSL that lowers `drafts` to where a proposal ends early. */
const cutWgsl = {
  never: () => '',
  checked: (c: NGramConstants) => /* wgsl */ `
  if (lane < drafts) {
    let token = history[place + lane];
    if (${isOneOf(c.endTokens)} || isForbidden(place, lane, end)) { atomicMax(&cut, ${c.width}u - lane); }
  }
  workgroupBarrier();
  drafts = min(drafts, ${c.width}u - atomicLoad(&cut));`,
};

const cutOf = (c: NGramConstants) => (c.endTokens.length + c.forbidden.length + c.noRepeat > 0 ? 'checked' : 'never');

/**
 * One workgroup. Each invocation looks at every 256th place where a continuation could begin and compares backwards from there with
 * the end of the history; most differ at the first token. The best place is the largest key: length of the match, then position.
 */
export const nGramKernel = defineKernel({
  name: 'n-gram',
  bindings: { history: read('u32'), tokens: write('u32'), count: write('u32'), loopState: loopBinding },
  wgsl: (c: NGramConstants) => /* wgsl */ `
var<workgroup> best: atomic<u32>;
var<workgroup> cut: atomic<u32>;
${repeatsWgsl[c.noRepeat > 0 ? 'checked' : 'never'](c.noRepeat)}
fn isForbidden(place: u32, index: u32, end: u32) -> bool {
  let token = history[place + index];
  return ${isOneOf(c.forbidden)} || repeats(place, index, end);
}
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  let end = min(${loopWord('length')} + 1u, ${c.capacity}u);
  let limit = min(end, ${c.before}u);
  for (var place = lane + 1u; place < limit; place += 256u) {
    var matched = 0u;
    let most = min(${c.longest}u, place);
    while (matched < most && history[place - 1u - matched] == history[end - 1u - matched]) { matched++; }
    if (matched >= ${c.shortest}u && !isForbidden(place, 0u, end)) {
      atomicMax(&best, (matched << ${positionBits}u) | ${positionKey[c.prefer]});
    }
  }
  workgroupBarrier();
  let key = atomicLoad(&best);
  var place = key & ${positionMask}u;
  place = ${positionKey[c.prefer]};
  var drafts = 0u;
  if (key != 0u) { drafts = min(${c.width - 1}u, limit - place); }${cutWgsl[cutOf(c)](c)}
  if (lane < ${c.width}u) {
    var token = history[end - 1u];
    if (lane > 0u) { token = 0u; }
    if (lane > 0u && lane <= drafts) { token = history[place + lane - 1u]; }
    tokens[lane] = token;
  }
  if (lane == 0u) { count[0] = drafts + 1u; }
}`,
});
