/**
 * Runs the tests of kernels, models and loops under Deno, whose WebGPU is wgpu with Naga, and says which declared
 * kernels it compiled. With parameters it runs the files that they name, and counts no kernels.
 */
import { type DeclaredKernel, declaredKernels, kernelsNotCompiled } from '../checks/kernels.ts';
import { readWorkspace } from '../checks/workspace.ts';
import { forgetNotes, notes } from './lane-notes.ts';
import { runVitest } from './run-vitest.ts';

/** Prints what was compiled; false if a kernel that needs no optional feature was not. */
function everyKernelCompiled(declared: readonly DeclaredKernel[]): boolean {
  const missing = kernelsNotCompiled(declared, notes('deno', 'kernels'));
  console.log(`\nwgpu compiled ${declared.length - missing.length} of ${declared.length} declared kernels.`);
  for (const { name, features } of missing.filter((kernel) => kernel.features.length > 0)) {
    console.log(`Not run in Deno, which has no ${features.join(', ')}: ${name}`);
  }
  const untested = missing.filter(({ features }) => features.length === 0);
  for (const { name, file } of untested) console.error(`No test in Deno compiled ${name} (${file})`);
  return untested.length === 0;
}

const parameters = process.argv.slice(2);
const declared = declaredKernels(readWorkspace());
// Packages with kernels, and those whose tests run whole models and loops.
const folders = new Set([
  ...declared.map(({ file }) => file.split('/').slice(0, 2).join('/')),
  ...['attention', 'mtp', 'goldens'].map((name) => `packages/${name}`),
]);
/**
 * Whole runs of heads and of published cases, and the stories of GGUF files, stay with Dawn: other tests of the lane compile and hold
 * their kernels, and models, loops and look-ups run here.
 */
const leftToDawn = [
  'gguf-stories',
  'readmes',
  'speculative/*-cases',
  'speculative/*-trees',
  'speculative/case-runs',
  'speculative/heads-*',
  'speculative/mtp-targets',
  'speculative/stories-heads',
  'speculative/verdicts',
].map((name) => `--exclude=packages/goldens/src/${name}.test.ts`);
const whole = [...[...folders].map((folder) => `${folder}/`), ...leftToDawn];
forgetNotes('deno');
const code = await runVitest('deno', parameters.length > 0 ? parameters : whole);
const complete = parameters.length > 0 || everyKernelCompiled(declared);
process.exit(code === 0 && complete ? 0 : 1);
