/**
 * Runs the test files of kernels that need optional features on lavapipe, which has them all, and makes sure that each
 * such kernel was compiled there; kernels of an experimental feature only where this lavapipe offers it. Other files are
 * left out: lavapipe takes minutes to compile large kernels. With parameters it runs the files that they name.
 */
import { posix } from 'node:path';
import { type DeclaredKernel, declaredKernels, kernelsNotCompiled } from '../checks/kernels.ts';
import { readWorkspace } from '../checks/workspace.ts';
import { forgetNotes, notes } from './lane-notes.ts';
import { runVitest } from './run-vitest.ts';

/** What a test file says that tests a kernel with the feature. */
const words: Readonly<Record<string, RegExp>> = {
  subgroups: /subgroup/,
  'shader-f16': /shader-f16/,
  'chromium-experimental-subgroup-matrix': /subgroup-matrix/,
};

const parameters = process.argv.slice(2);
const workspace = readWorkspace();
const kernels = declaredKernels(workspace).filter(({ features }) => features.length > 0);
const tests = workspace
  .flatMap(({ files }) => files)
  .filter(
    ({ path, text }) =>
      path.endsWith('.test.ts') &&
      kernels.some(
        ({ file, features }) =>
          posix.dirname(file) === posix.dirname(path) && features.some((feature) => words[feature]?.test(text)),
      ),
  )
  .map(({ path }) => path);
forgetNotes('lavapipe');
const code = await runVitest('lavapipe', parameters.length > 0 ? parameters : tests);
let missing: readonly DeclaredKernel[] = [];
if (parameters.length === 0) {
  const offered = notes('lavapipe', 'features');
  const lacked = (kernel: DeclaredKernel) =>
    kernel.features.filter((feature) => feature.includes('-experimental-') && !offered.has(feature));
  const wanted = kernels.filter((kernel) => lacked(kernel).length === 0);
  missing = kernelsNotCompiled(wanted, notes('lavapipe', 'kernels'));
  const features = [...new Set(wanted.flatMap((kernel) => kernel.features))].join(' or ');
  console.log(
    `\nlavapipe compiled ${wanted.length - missing.length} of ${wanted.length} kernels that need ${features}.`,
  );
  for (const kernel of kernels.filter((one) => !wanted.includes(one))) {
    console.log(`notice: this lavapipe has no ${lacked(kernel).join(' and no ')}: ${kernel.name} did not run.`);
  }
}
for (const { name, file } of missing) console.error(`No test on lavapipe compiled ${name} (${file})`);
process.exit(code === 0 && missing.length === 0 ? 0 : 1);
