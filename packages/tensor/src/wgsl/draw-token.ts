import type { Device } from '../device/device.ts';
import { noToken } from '../ops/sample/sample.reference.ts';

/** Invocations that share a row of a vocabulary; a software adapter pays for each at every barrier. */
export function vocabularyLanes(device: Device, vocabSize: number): number {
  if (device.adapter.kind === 'software') return 4;
  return vocabSize >= 1024 ? 256 : 64;
}

/**
 * WGSL of `drawToken(lane, uniform) -> u32`: the first token at which the running sum of `weightOf(token)`, which the kernel has to
 * define, exceeds `uniform` times the total; 0xffffffff where all weights are 0. Each lane sums a stretch of the vocabulary, so the
 * order of additions is fixed. Call it in uniform control flow.
 */
export const drawTokenWgsl = (vocabSize: number, lanes: number) => /* wgsl */ `
var<workgroup> massOfLane: array<f32, ${lanes}>;
var<workgroup> chosenLane: u32;
var<workgroup> massLeft: f32;
var<workgroup> drawn: u32;
fn drawToken(lane: u32, uniform01: f32) -> u32 {
  let begin = lane * ${Math.ceil(vocabSize / lanes)}u;
  let end = min(begin + ${Math.ceil(vocabSize / lanes)}u, ${vocabSize}u);
  var mass = 0.0;
  for (var token = begin; token < end; token++) { mass += weightOf(token); }
  massOfLane[lane] = mass;
  workgroupBarrier();
  if (lane == 0u) {
    var total = 0.0;
    for (var l = 0u; l < ${lanes}u; l++) { total += massOfLane[l]; }
    let goal = uniform01 * total;
    chosenLane = ${lanes}u;
    drawn = ${noToken}u;
    var before = 0.0;
    for (var l = 0u; l < ${lanes}u; l++) {
      if (massOfLane[l] > 0.0) {
        chosenLane = l;
        massLeft = goal - before;
        before += massOfLane[l];
        if (before > goal) { break; }
      }
    }
  }
  workgroupBarrier();
  if (lane == chosenLane) {
    var sum = 0.0;
    for (var token = begin; token < end; token++) {
      let weight = weightOf(token);
      if (weight <= 0.0) { continue; }
      drawn = token;
      sum += weight;
      if (sum > massLeft) { break; }
    }
  }
  return workgroupUniformLoad(&drawn);
}`;
