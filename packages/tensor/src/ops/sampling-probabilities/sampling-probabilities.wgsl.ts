import { defineKernel, write } from '../../kernel/define-kernel.ts';
import { philoxWgsl } from '../../wgsl/philox.ts';
import { workgroupReduceWgsl } from '../../wgsl/reduce.ts';
import { settingsBinding } from '../penalties/penalties.wgsl.ts';
import { filterWgsl } from '../sample/filter.wgsl.ts';
import {
  keyWgsl,
  mergeScanWgsl,
  pickLanes,
  scannedBindings,
  scannedGlobalsWgsl,
  settingsWgsl,
} from '../sample/sample.wgsl.ts';

/** One workgroup a row: the support that the filters leave, its mass in a fixed order of additions, and the quotients. */
export const samplingProbabilitiesKernel = defineKernel({
  name: 'sampling-probabilities',
  bindings: {
    ...scannedBindings,
    y: write('f32'),
    settings: settingsBinding,
  },
  wgsl: (c: { vocabSize: number; choice: 'greedy' | 'drawn' }) => /* wgsl */ `
${philoxWgsl}${keyWgsl}${settingsWgsl(c.choice)}
${scannedGlobalsWgsl(c.vocabSize)}
${filterWgsl(c.vocabSize, pickLanes(c.vocabSize))}
${workgroupReduceWgsl({ name: 'sumOfLanes', type: 'f32', lanes: pickLanes(c.vocabSize), combine: 'a + b' })}
@compute @workgroup_size(${pickLanes(c.vocabSize)})
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
${mergeScanWgsl(c.vocabSize)}
  for (var s = lane; s < partials; s += ${pickLanes(c.vocabSize)}u) {
    let found = partial[base + s];
    if (found.x == atomicLoad(&bestKey)) { atomicMax(&bestToken, found.y); }
  }
  workgroupBarrier();
  let failed = atomicLoad(&broken) != 0u || atomicLoad(&topKey) == 0u;
  if (temperature() <= 0.0) {
    for (var token = lane; token < ${c.vocabSize}u; token += ${pickLanes(c.vocabSize)}u) {
      y[row * ${c.vocabSize}u + token] = select(0.0, 1.0, token == ~atomicLoad(&bestToken) && !failed);
    }
    return;
  }
  findSupport(row, lane);
  let top = keyValue(atomicLoad(&topKey));
  var mass = 0.0;
  for (var token = lane; token < ${c.vocabSize}u; token += ${pickLanes(c.vocabSize)}u) {
    let key = orderedKey(logitBits(row, token));
    if (!failed && isKept(key, top)) { mass += relativeMass(key, top); }
  }
  let total = max(sumOfLanes(lane, mass), 1.0e-30);
  for (var token = lane; token < ${c.vocabSize}u; token += ${pickLanes(c.vocabSize)}u) {
    let key = orderedKey(logitBits(row, token));
    var probability = 0.0;
    if (!failed && isKept(key, top)) { probability = relativeMass(key, top) / total; }
    y[row * ${c.vocabSize}u + token] = probability;
  }
}`,
});
