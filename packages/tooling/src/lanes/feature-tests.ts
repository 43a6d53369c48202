/**
 * Runs the test files of kernels that need optional features on lavapipe, which has them all, and makes sure that each
 * such kernel was compiled there. Other files are left out: lavapipe takes minutes to compile large kernels. With
 * parameters it runs the files that they name.
 */
import { posix } from 'node:path';
import { declaredKernels, kernelsNotCompiled } from '../checks/kernels.ts';
import { readWorkspace } from '../checks/workspace.ts';
import { compiledKernels, forgetCompiledKernels } from './compiled-kernels.ts';
import { runVitest } from './run-vitest.ts';

/** What a test file says that tests a kernel with the feature. */
const words: Readonly<Record<string, RegExp>> = { subgroups: /subgroup/, 'shader-f16': /shader-f16/ };

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
forgetCompiledKernels('lavapipe');
const code = await runVitest('lavapipe', parameters.length > 0 ? parameters : tests);
const missing = parameters.length > 0 ? [] : kernelsNotCompiled(kernels, compiledKernels('lavapipe'));
if (parameters.length === 0) {
  const features = [...new Set(kernels.flatMap((kernel) => kernel.features))].join(' or ');
  console.log(
    `\nlavapipe compiled ${kernels.length - missing.length} of ${kernels.length} kernels that need ${features}.`,
  );
}
for (const { name, file } of missing) console.error(`No test on lavapipe compiled ${name} (${file})`);
process.exit(code === 0 && missing.length === 0 ? 0 : 1);
