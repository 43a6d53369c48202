import { loopBinding, loopWord } from '@forerun/contracts';
import { defineKernel, noToken, philoxWgsl, read, readWrite, write } from '@forerun/tensor';
import type { LookaheadSizes } from './lookahead-sizes.ts';
import { poolStride, windowColumns, windowWords } from './lookahead-sizes.ts';

/** Seed of the tokens that a window begins with. */
export const windowSeed = 0x100c_a4ed;

/** What the kernels are made for. */
export interface LookaheadConstants extends LookaheadSizes {
  readonly width: number;
  /** N-grams that are verified, the newest ones. */
  readonly tried: number;
  /** Whether the round has room for the window. */
  readonly looking: boolean;
  readonly vocabSize: number;
}

const rowLengthsWgsl = ({ window, ngram }: LookaheadSizes) => /* wgsl */ `
fn firstLength(filled: u32) -> u32 { return ${window + ngram - 2}u - filled; }
fn otherLength(filled: u32) -> u32 { return ${window + ngram - 1}u - filled; }`;

/** Tokens of the window and its parents: each is under the same column of the row above, the first row under itself. */
const windowRowsWgsl = (c: LookaheadConstants) => {
  const columns = windowColumns(c);
  const last = windowWords(c) - 1;
  return {
    begin: /* wgsl */ `
  filled = looked[${last}u];
  workgroupBarrier();
  if (filled == 0u) {
    for (var i = lane; i < ${columns}u; i += 64u) {
      let words = philox(vec4<u32>(i, length, 0u, 0u), vec2<u32>(${windowSeed}u, 0u));
      looked[i] = history[words.x % (length + 1u)];
    }
    if (lane == 0u) { looked[${last}u] = 1u; }
    filled = 1u;
  }
  storageBarrier();
  workgroupBarrier();
  windowRows = firstLength(filled) + (filled - 1u) * otherLength(filled);
  guessing = filled >= ${c.ngram - 1}u;`,
    rows: /* wgsl */ `
  for (var at = lane; at < windowRows; at += 64u) {
    var level = 0u;
    var column = at;
    if (at >= firstLength(filled)) {
      level = 1u + (at - firstLength(filled)) / otherLength(filled);
      column = (at - firstLength(filled)) % otherLength(filled);
    }
    let row = used + at;
    var parent = 0u;
    if (level <= 1u && column > 0u) { parent = used + column - 1u; }
    if (level == 2u) { parent = used + firstLength(filled) + column; }
    if (level > 2u) { parent = row - otherLength(filled); }
    tokens[row] = looked[level * ${columns}u + column];
    parents[row] = parent;
    depths[row] = select(column + level, column + 1u, level == 0u);
  }
  used += windowRows;`,
  };
};

const withoutWindow = { begin: '  guessing = true;', rows: '' };

/**
 * One workgroup. The newest n-grams of the anchor become a trie: an entry is a node where no newer n-gram begins with the same tokens. Rows
 * of the window follow.
 */
export const lookaheadTreeKernel = defineKernel({
  name: 'lookahead-tree',
  bindings: {
    looked: readWrite('u32'),
    pool: read('u32'),
    history: read('u32'),
    tokens: write('u32'),
    parents: write('u32'),
    depths: write('u32'),
    count: write('u32'),
    candidates: write('u32'),
    loopState: loopBinding,
  },
  wgsl: (c: LookaheadConstants) => {
    const entries = c.tried * c.verified;
    const { begin, rows } = c.looking ? windowRowsWgsl(c) : withoutWindow;
    return /* wgsl */ `
${philoxWgsl}
${rowLengthsWgsl(c)}
var<workgroup> guessed: array<u32, ${entries}>;
var<workgroup> sameAs: array<u32, ${entries}>;
var<workgroup> isNode: array<u32, ${entries}>;
var<workgroup> rowOf: array<u32, ${entries}>;
var<workgroup> nodes: u32;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
  let anchor = ${loopWord('anchor')};
  let length = ${loopWord('length')};
  var filled = 0u;
  var windowRows = 0u;
  var guessing = false;
${begin}
  var all = 0u;
  if (guessing && anchor < ${c.vocabSize}u) { all = min(pool[anchor * ${poolStride(c)}u], ${c.guesses}u); }
  let known = min(all, ${c.tried}u);
  for (var entry = lane; entry < known * ${c.verified}u; entry += 64u) {
    let slot = all - 1u - entry / ${c.verified}u;
    guessed[entry] = pool[anchor * ${poolStride(c)}u + 1u + slot * ${c.ngram - 1}u + entry % ${c.verified}u];
  }
  workgroupBarrier();
  for (var entry = lane; entry < known * ${c.verified}u; entry += 64u) {
    let guess = entry / ${c.verified}u;
    let depth = entry % ${c.verified}u;
    var same = guess;
    for (var other = 0u; other < guess && same == guess; other++) {
      var i = 0u;
      while (i <= depth && guessed[other * ${c.verified}u + i] == guessed[guess * ${c.verified}u + i]) { i++; }
      if (i > depth) { same = other; }
    }
    sameAs[entry] = same;
    isNode[entry] = select(0u, 1u, same == guess);
  }
  workgroupBarrier();
  let room = ${c.width - 1}u - windowRows;
  for (var entry = lane; entry < known * ${c.verified}u; entry += 64u) {
    var row = 1u;
    for (var before = 0u; before < entry; before++) { row += isNode[before]; }
    rowOf[entry] = select(0u, row, isNode[entry] == 1u && row <= room);
    if (entry + 1u == known * ${c.verified}u) { nodes = row - 1u + isNode[entry]; }
  }
  workgroupBarrier();
  for (var entry = lane; entry < known * ${c.verified}u; entry += 64u) {
    let row = rowOf[entry];
    if (row == 0u) { continue; }
    var parent = 0u;
    if (entry % ${c.verified}u > 0u) { parent = rowOf[sameAs[entry - 1u] * ${c.verified}u + (entry - 1u) % ${c.verified}u]; }
    tokens[row] = guessed[entry];
    parents[row] = parent;
    depths[row] = entry % ${c.verified}u + 1u;
  }
  var used = 1u + min(nodes, room);
  if (lane == 0u) {
    tokens[0] = anchor;
    parents[0] = 0u;
    depths[0] = 0u;
    candidates[0] = used;
  }
${rows}
  if (lane == 0u) { count[0] = used; }
  for (var row = used + lane; row < ${c.width}u; row += 64u) {
    tokens[row] = 0u;
    parents[row] = 0u;
    depths[row] = 0u;
  }
}`;
  },
});

/** What absorbing is made for. */
export interface AbsorbConstants extends LookaheadConstants {
  /** N-grams of kept tokens that are made at most, 0 for none. */
  readonly kept: number;
  readonly capacity: number;
}

const moveWindowWgsl = (c: AbsorbConstants) => {
  const columns = windowColumns(c);
  const last = windowWords(c) - 1;
  return /* wgsl */ `
  let filled = clamp(looked[${last}u], 1u, ${c.ngram - 1}u);
  for (var i = lane; i < ${last}u; i += 64u) { before[i] = looked[i]; }
  var lastRow = candidates[0];
  var results = firstLength(filled);
  if (filled > 1u) {
    lastRow += firstLength(filled) + (filled - 2u) * otherLength(filled);
    results = otherLength(filled);
  }
  for (var column = lane; column < results; column += 64u) { fresh[column] = topTokens[min(lastRow + column, ${c.width - 1}u)]; }
  workgroupBarrier();
  // Another drafter's tree may have been verified in place of this one.
  for (var at = lane; at < firstLength(filled) + (filled - 1u) * otherLength(filled); at += 64u) {
    var place = at;
    if (at >= firstLength(filled)) {
      let behind = at - firstLength(filled);
      place = (1u + behind / otherLength(filled)) * ${columns}u + behind % otherLength(filled);
    }
    if (tokens[min(candidates[0] + at, ${c.width - 1}u)] != before[place]) { atomicStore(&isStrange, 1u); }
  }
  workgroupBarrier();
  let own = atomicLoad(&isStrange) == 0u;
  let full = filled == ${c.ngram - 1}u;
  for (var column = lane; column < ${c.window}u; column += 64u) {
    let entry = column * ${c.ngram}u;
    var key = ${noToken}u;
    if (full && own) {
      key = tokens[0];
      if (column > 0u) { key = before[column - 1u]; }
    }
    entries[entry] = key;
    for (var level = 1u; level < ${c.ngram - 1}u; level++) { entries[entry + level] = before[level * ${columns}u + column]; }
    entries[entry + ${c.ngram - 1}u] = fresh[column];
  }
  for (var at = lane; at < ${last}u; at += 64u) {
    let level = at / ${columns}u;
    let column = at % ${columns}u;
    var token = 0u;
    // While rows are missing, those that are there lose their first column and one row joins; then the first row goes.
    let source = select(level, level + 1u, full);
    let shift = select(1u, 0u, full && level > 0u);
    let joins = select(filled, ${c.ngram - 2}u, full);
    let skipped = select(1u, 0u, full || filled == 1u);
    if (level == joins && column + skipped < results) { token = fresh[column + skipped]; }
    if (level < joins && column + shift < ${columns}u) { token = before[source * ${columns}u + column + shift]; }
    if (own) { looked[at] = token; }
  }
  if (lane == 0u && own) { looked[${last}u] = min(filled + 1u, ${c.ngram - 1}u); }`;
};

/** One workgroup: moves the window by what the target said behind its last row, and makes n-grams of its columns and of kept tokens. */
export const lookaheadAbsorbKernel = defineKernel({
  name: 'lookahead-absorb',
  bindings: {
    looked: readWrite('u32'),
    tokens: read('u32'),
    topTokens: read('u32'),
    candidates: read('u32'),
    history: read('u32'),
    length: read('u32'),
    kept: read('u32'),
    entries: write('u32'),
  },
  wgsl: (c: AbsorbConstants) => /* wgsl */ `
${rowLengthsWgsl(c)}
var<workgroup> before: array<u32, ${windowWords(c)}>;
var<workgroup> fresh: array<u32, ${windowColumns(c) + 1}>;
var<workgroup> isStrange: atomic<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
${c.looking ? moveWindowWgsl(c) : ''}
  for (var i = lane; i < ${c.kept}u; i += 64u) {
    let end = length[0] + 2u + i;
    let entry = (${c.looking ? c.window : 0}u + i) * ${c.ngram}u;
    for (var at = 0u; at < ${c.ngram}u; at++) {
      var token = ${noToken}u;
      if (i < kept[0] && end >= ${c.ngram}u) { token = history[min(end - ${c.ngram}u + at, ${c.capacity - 1}u)]; }
      entries[entry + at] = token;
    }
  }
}`,
});

/** One invocation an n-gram of the prompt: those that begin in a chunk, and the few before it that reach into it. */
export const promptNGramsKernel = defineKernel({
  name: 'prompt-n-grams',
  bindings: {
    history: read('u32'),
    length: read('u32'),
    count: read('u32'),
    entries: write('u32'),
    loopState: loopBinding,
  },
  wgsl: (c: { ngram: number; entries: number; capacity: number }) => /* wgsl */ `
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= ${c.entries}u) { return; }
  let begin = length[0] - min(length[0], ${c.ngram - 1}u) + id.x;
  let there = begin < length[0] + count[0] && begin + ${c.ngram - 1}u <= ${loopWord('prefillEnd')};
  for (var at = 0u; at < ${c.ngram}u; at++) {
    var token = ${noToken}u;
    if (there) { token = history[min(begin + at, ${c.capacity - 1}u)]; }
    entries[id.x * ${c.ngram}u + at] = token;
  }
}`,
});
