import { defineKernel, read, write } from '@forerun/tensor';
import { sumPairsWgsl } from '../draw/draw.wgsl.ts';
import { entropyFloor } from './typical.reference.ts';
import { outcomeBindings } from '../verdict/outcome.ts';

/** One workgroup a row: `min(epsilon, delta e^-H)`. */
export const typicalThresholdsKernel = defineKernel({
  name: 'typical-thresholds',
  bindings: { p: read('f32'), y: write('f32') },
  uniforms: { epsilon: 'f32', delta: 'f32' },
  wgsl: ({ vocabSize, lanes }: { vocabSize: number; lanes: number }) => /* wgsl */ `
${sumPairsWgsl(lanes)}
@compute @workgroup_size(${lanes})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var token = lane; token < ${vocabSize}u; token += ${lanes}u) {
    let probability = p[workgroup.x * ${vocabSize}u + token];
    sum = fma(probability, log(probability + ${entropyFloor}), sum);
  }
  let total = sumPairs(lane, vec2<f32>(sum, 0.0)).x;
  if (lane == 0u) { y[workgroup.x] = min(u.epsilon, u.delta * exp(total)); }
}`,
});

/** One invocation a row: whether all of its ancestors are accepted, and how likely its path is. */
export const typicalPathKernel = defineKernel({
  name: 'typical-path',
  bindings: {
    p: read('f32'),
    rowWords: read('u32'),
    thresholds: read('f32'),
    targets: read('u32'),
    ...outcomeBindings,
  },
  wgsl: ({ width, vocabSize }: { width: number; vocabSize: number }) => /* wgsl */ `
var<workgroup> depthOf: array<u32, 64>;
var<workgroup> scoreOf: array<f32, 64>;
fn probabilityOf(row: u32) -> f32 {
  let token = rowWords[row];
  if (token >= ${vocabSize}u) { return 0.0; }
  return p[rowWords[${width}u + row] * ${vocabSize}u + token];
}
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) row: u32) {
  let used = clamp(rowWords[${2 * width}u], 1u, ${width}u);
  depthOf[row] = 0u;
  if (row > 0u && row < used) {
    var score = 0.0;
    var depth = 0u;
    var accepted = true;
    for (var at = row; at > 0u; at = min(rowWords[${width}u + at], at - 1u)) {
      let probability = probabilityOf(at);
      accepted = accepted && probability > thresholds[rowWords[${width}u + at]];
      score += log(max(probability, 1.0e-38));
      depth++;
    }
    if (accepted) { depthOf[row] = depth; }
    scoreOf[row] = score;
  }
  workgroupBarrier();
  if (row == 0u) {
    var best = 0u;
    for (var one = 1u; one < used; one++) {
      if (depthOf[one] > depthOf[best] || (depthOf[one] > 0u && depthOf[one] == depthOf[best] && scoreOf[one] > scoreOf[best])) { best = one; }
    }
    let depth = depthOf[best];
    count[0] = depth + 1u;
    next[0] = targets[best];
    for (var i = depth + 1u; i < ${width}u; i++) { path[i] = 0u; }
    var at = best;
    for (var i = depth; i > 0u; i--) {
      path[i] = at;
      at = rowWords[${width}u + at];
    }
    path[0] = 0u;
  }
}`,
});
