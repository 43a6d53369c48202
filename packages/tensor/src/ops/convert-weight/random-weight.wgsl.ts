import { blockLayouts, isBlockFormat } from '../../graph/block-types.ts';
import type { WeightFormat } from '../../graph/weight.ts';
import { defineKernel, readWrite } from '../../kernel/define-kernel.ts';
import { linearWorkgroupWgsl } from '../../kernel/grid.ts';
import { halfWgsl } from '../../wgsl/half.ts';

/** Invocations of a workgroup. */
export const randomWorkgroup = 64;

/** What a word of a weight's memory is filled with: a pair of scales, or values or codes of a format. */
export type RandomContent = WeightFormat | 'scales';

const contents: Partial<Record<RandomContent, string>> = {
  f32: 'bitcast<u32>(value(bits))',
  f16: 'halfFromFloat(bitcast<u32>(value(bits))) | (halfFromFloat(bitcast<u32>(value(mix(bits)))) << 16u)',
  bf16: 'brainFromFloat(bitcast<u32>(value(bits))) | (brainFromFloat(bitcast<u32>(value(mix(bits)))) << 16u)',
  scales: 'halfFromFloat(bitcast<u32>(scale(bits))) | (halfFromFloat(bitcast<u32>(scale(mix(bits)))) << 16u)',
};

/** Minimum over scale with which the values of a block lie around 0. */
const centres: Partial<Record<RandomContent, number>> = { q4_1: -7.5, q5_1: -15.5, q4_k: 7.5, q5_k: 15.5 };

/** A word of a block; those that hold their scales themselves have a scale at its place and, where there are two, a minimum. */
function blockWord(content: RandomContent): string {
  if (!isBlockFormat(content) || blockLayouts[content].scaled) return 'bits';
  const { words, halves } = blockLayouts[content];
  const header = `(u.begin + index) % ${words}u == ${Math.floor(halves[0]! / 4)}u`;
  const centre = centres[content];
  const minimum = centre === undefined ? '0u' : `halfFromFloat(bitcast<u32>(${centre.toFixed(1)} * scale(bits)))`;
  return `select(bits, halfFromFloat(bitcast<u32>(scale(bits))) | (${minimum} << 16u), ${header})`;
}

/**
 * Fills words `begin ..< begin + words` from a hash of seed and place: values uniform in `centre ± spread`, codes of all kinds, scales
 * between 0.5 and 1.5 times `spread` of either sign, since codes lie around a half below 0: thousands of values that all lean one way would
 * add up over the layers of a model.
 */
export function randomWeightKernel(content: RandomContent) {
  return defineKernel({
    name: `random-weight-${content}`,
    bindings: { words: readWrite('u32') },
    uniforms: { begin: 'u32', count: 'u32', seed: 'u32', centre: 'f32', spread: 'f32' },
    wgsl: (c: { readonly content: RandomContent }) => /* wgsl */ `
${halfWgsl}
fn mix(bits: u32) -> u32 {
  let state = bits * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}
fn unit(bits: u32) -> f32 { return f32(bits >> 8u) * 5.9604644775390625e-8f; }
fn value(bits: u32) -> f32 { return fma(2.0 * unit(bits) - 1.0, u.spread, u.centre); }
fn scale(bits: u32) -> f32 { return (0.5 + unit(bits)) * select(u.spread, -u.spread, (bits & 1u) == 1u); }
@compute @workgroup_size(${randomWorkgroup})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let index = ${linearWorkgroupWgsl} * ${randomWorkgroup}u + local;
  if (index >= u.count) { return; }
  let bits = mix(index ^ mix(u.seed));
  words[u.begin + index] = ${contents[c.content] ?? blockWord(c.content)};
}`,
  });
}
