import { loopBinding, loopWord } from '@forerun/contracts';
import { defineKernel, read, write } from '@forerun/tensor';
import { separator } from '../retrieval/datastore.ts';

/** Places that one pass of the workgroup looks at: whole blocks of them are taken, so that what is taken does not depend on chance. */
export const blockPlaces = 1024;

/** What the scan is made for. */
export interface ScanConstants {
  readonly capacity: number;
  readonly longest: number;
  readonly shortest: number;
  readonly places: number;
}

/**
 * One workgroup looks at every place of the history where a continuation could begin: first for the longest match with its end, then,
 * from the latest block of places on, for all matches of that length.
 */
export const scanKernel = defineKernel({
  name: 'suffix-scan',
  bindings: { history: read('u32'), begins: write('u32'), found: write('u32'), loopState: loopBinding },
  wgsl: (c: ScanConstants) => /* wgsl */ `
var<workgroup> best: atomic<u32>;
var<workgroup> taken: atomic<u32>;
fn matchedAt(place: u32, end: u32) -> u32 {
  var matched = 0u;
  let most = min(${c.longest}u, place);
  while (matched < most && history[place - 1u - matched] == history[end - 1u - matched]) { matched++; }
  return matched;
}
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
  let end = min(${loopWord('length')} + 1u, ${c.capacity}u);
  var mine = 0u;
  for (var place = lane + 1u; place < end; place += 256u) { mine = max(mine, matchedAt(place, end)); }
  if (mine >= ${c.shortest}u) { atomicMax(&best, mine); }
  workgroupBarrier();
  let matched = atomicLoad(&best);
  for (var block = 0u; block * ${blockPlaces}u < end; block++) {
    let room = ${c.places}u - min(atomicLoad(&taken), ${c.places}u);
    workgroupBarrier();
    for (var i = lane; i < ${blockPlaces}u; i += 256u) {
      let back = block * ${blockPlaces}u + i + 1u;
      if (matched == 0u || room < ${blockPlaces}u || back >= end) { continue; }
      let place = end - back;
      if (matchedAt(place, end) == matched) { begins[atomicAdd(&taken, 1u)] = place; }
    }
    workgroupBarrier();
  }
  let used = atomicLoad(&taken);
  for (var place = used + lane; place < ${c.places}u; place += 256u) { begins[place] = 0u; }
  if (lane == 0u) {
    found[0] = used;
    found[1] = matched;
    found[2] = end;
  }
}`,
});

/** One invocation a place, which counts the places that come before it: by what follows, then by place. */
export const sortPlacesKernel = defineKernel({
  name: 'suffix-sort-places',
  bindings: { history: read('u32'), begins: read('u32'), found: read('u32'), sorted: write('u32') },
  wgsl: (c: { places: number; longest: number }) => /* wgsl */ `
fn tokenAt(at: u32) -> u32 {
  if (at >= found[2]) { return ${separator}u; }
  return history[at];
}
fn isBefore(a: u32, b: u32) -> bool {
  for (var i = 0u; i < ${c.longest}u; i++) {
    let x = tokenAt(a + i);
    let y = tokenAt(b + i);
    if (x != y) { return x < y; }
    if (x == ${separator}u) { break; }
  }
  return a < b;
}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let place = id.x;
  if (place >= ${c.places}u) { return; }
  let used = min(found[0], ${c.places}u);
  if (place >= used) {
    sorted[place] = 0u;
    return;
  }
  var rank = 0u;
  for (var other = 0u; other < used; other++) {
    if (other != place && isBefore(begins[other], begins[place])) { rank++; }
  }
  sorted[rank] = begins[place];
}`,
});
