import type { Binding } from '../../kernel/define-kernel.ts';
import { defineKernel, read, write } from '../../kernel/define-kernel.ts';
import { philoxWgsl } from '../../wgsl/philox.ts';
import { noiseKind } from '../noise/noise.reference.ts';
import type { PathKind } from '../penalties/penalties.wgsl.ts';
import { pathBindings, pathWgsl, penaliseWgsl, settingsBinding } from '../penalties/penalties.wgsl.ts';
import { filterWgsl } from './filter.wgsl.ts';

/** Tokens that one workgroup of the first pass looks at. */
export const tokensPerSplit = 1024;

/** What both kernels are made for. */
export interface SampleConstants {
  readonly vocabSize: number;
  /** `greedy`: the temperature is ignored and the most likely token taken. */
  readonly choice: 'greedy' | 'drawn';
  /** Stream of the noise. */
  readonly stream: number;
}

/**
 * Floats as u32 in the same order, so that they can be compared, searched bit by bit and combined with atomics. 0 stands for a token
 * that cannot be chosen (a logit of -infinity). NaN and +infinity are told by their bits: WGSL may assume that neither occurs.
 */
const keyWgsl = /* wgsl */ `
fn orderedKey(bits: u32) -> u32 {
  if (bits == 0xff800000u) { return 0u; }
  if (bits == 0x80000000u) { return 0x80000000u; }
  return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
}
fn isBroken(bits: u32) -> bool { return (bits & 0x7fffffffu) > 0x7f800000u || bits == 0x7f800000u; }
`;

const temperatureWgsl = { greedy: '0.0', drawn: 'bitcast<f32>(settings[0].x)' };

/** The settings as both kernels ask for them; all uniform. */
const settingsWgsl = (choice: keyof typeof temperatureWgsl) => /* wgsl */ `
fn temperature() -> f32 { return ${temperatureWgsl[choice]}; }
fn topK() -> u32 { return settings[0].y; }
fn topP() -> f32 { return bitcast<f32>(settings[0].z); }
fn minP() -> f32 { return bitcast<f32>(settings[0].w); }
fn isPenalised() -> bool { return settings[2].y != 0u; }
fn usesTopP() -> bool { return topP() > 0.0 && topP() < 1.0; }
fn isFiltered() -> bool { return temperature() > 0.0 && (topK() > 0u || usesTopP() || minP() > 0.0); }
fn seed() -> vec2<u32> { return vec2<u32>(settings[1].w, settings[2].x); }
`;

const noiseWgsl = (stream: number) => /* wgsl */ `
fn noiseBlock(block: u32, position: u32) -> vec4<u32> {
  return philox(vec4<u32>(block, position, ${stream}u, ${noiseKind.gumbel}u), seed());
}
`;

/**
 * First pass, one workgroup for {@link tokensPerSplit} tokens of a row: penalties, then the best score with its lowest token, and the
 * largest logit. Scores are `z` (greedy) or `z / T + gumbel`; with filters on, only the largest logit is needed yet.
 * Partial results: score key, ~token, largest key, whether anything was broken.
 */
export function sampleScanKernel(path: PathKind) {
  const bindings: Record<string, Binding> = {
    logits: read('u32'),
    counts: read('u32'),
    positions: read('u32'),
    ...pathBindings[path],
    penalised: write('f32'),
    partial: write('vec4<u32>'),
    settings: settingsBinding,
  };
  return defineKernel({
    name: `sample-scan-${path}`,
    bindings,
    wgsl: (c: SampleConstants) => /* wgsl */ `
${philoxWgsl}${keyWgsl}${settingsWgsl(c.choice)}${noiseWgsl(c.stream)}${penaliseWgsl(c.vocabSize)}${pathWgsl(path)}
var<workgroup> bestKey: atomic<u32>;
var<workgroup> bestToken: atomic<u32>;
var<workgroup> topKey: atomic<u32>;
var<workgroup> broken: atomic<u32>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.y;
  if (isPenalised()) {
    if (lane == 0u) { followPath(row); }
    workgroupBarrier();
  }
  let block = workgroup.x * ${tokensPerSplit / 4}u + lane;
  var words = vec4<u32>(0u);
  let noisy = temperature() > 0.0;
  let scored = !isFiltered();
  if (noisy && scored) { words = noiseBlock(block, positions[row]); }
  let inverse = 1.0 / max(temperature(), 1.0e-6);
  var laneKey = 0u;
  var laneToken = 0xffffffffu;
  var laneTop = 0u;
  for (var k = 0u; k < 4u; k++) {
    let token = block * 4u + k;
    if (token >= ${c.vocabSize}u) { break; }
    let i = row * ${c.vocabSize}u + token;
    var bits = logits[i];
    if (isBroken(bits)) { atomicOr(&broken, 1u); }
    if (isPenalised()) {
      if (bits != 0xff800000u) { bits = bitcast<u32>(penalise(bitcast<f32>(bits), token)); }
      penalised[i] = bitcast<f32>(bits);
    }
    let key = orderedKey(bits);
    laneTop = max(laneTop, key);
    var score = key;
    if (noisy && scored && key != 0u) { score = orderedKey(bitcast<u32>(fma(bitcast<f32>(bits), inverse, gumbelOf(words[k])))); }
    if (score > laneKey) {
      laneKey = score;
      laneToken = token;
    }
  }
  atomicMax(&bestKey, laneKey);
  atomicMax(&topKey, laneTop);
  workgroupBarrier();
  if (laneKey == atomicLoad(&bestKey)) { atomicMax(&bestToken, ~laneToken); }
  workgroupBarrier();
  if (lane == 0u) {
    partial[row * workgroups.x + workgroup.x] =
      vec4<u32>(atomicLoad(&bestKey), atomicLoad(&bestToken), atomicLoad(&topKey), atomicLoad(&broken));
  }
}`,
  });
}

/** Second pass, one workgroup a row: combines what the first found, or, with filters on, finds the support and draws from it. */
export const samplePickKernel = defineKernel({
  name: 'sample-pick',
  bindings: {
    logits: read('u32'),
    penalised: read('u32'),
    partial: read('vec4<u32>'),
    positions: read('u32'),
    y: write('u32'),
    settings: settingsBinding,
  },
  wgsl: (c: SampleConstants) => /* wgsl */ `
${philoxWgsl}${keyWgsl}${settingsWgsl(c.choice)}${noiseWgsl(c.stream)}
var<workgroup> bestKey: atomic<u32>;
var<workgroup> bestToken: atomic<u32>;
var<workgroup> topKey: atomic<u32>;
var<workgroup> broken: atomic<u32>;
fn logitBits(row: u32, token: u32) -> u32 {
  let i = row * ${c.vocabSize}u + token;
  if (isPenalised()) { return penalised[i]; }
  return logits[i];
}
${filterWgsl(c.vocabSize)}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = workgroup.x;
  let splits = ${Math.ceil(c.vocabSize / tokensPerSplit)}u;
  for (var s = lane; s < splits; s += 256u) {
    let found = partial[row * splits + s];
    atomicMax(&bestKey, found.x);
    atomicMax(&topKey, found.z);
    atomicOr(&broken, found.w);
  }
  workgroupBarrier();
  if (isFiltered()) {
    drawFromSupport(row, lane, positions[row]);
  } else {
    for (var s = lane; s < splits; s += 256u) {
      let found = partial[row * splits + s];
      if (found.x == atomicLoad(&bestKey)) { atomicMax(&bestToken, found.y); }
    }
  }
  workgroupBarrier();
  if (lane == 0u) {
    let failed = atomicLoad(&broken) != 0u || atomicLoad(&topKey) == 0u;
    y[row] = select(~atomicLoad(&bestToken), 0xffffffffu, failed);
  }
}`,
});
