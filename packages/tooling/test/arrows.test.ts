import { expect, test } from 'vitest';
import { arrowProblems } from '../src/checks/arrows.ts';
import { type Manifest, type WorkspacePackage, importsOf } from '../src/checks/workspace.ts';

function workspacePackage(
  folder: string,
  files: Readonly<Record<string, string>>,
  manifest: Partial<Manifest> = {},
): WorkspacePackage {
  return {
    folder,
    manifest: { name: `@forerun/${folder.split('/')[1]}`, ...manifest },
    files: Object.entries(files).map(([name, text]) => {
      const path = `${folder}/${name}`;
      return { path, text, imports: importsOf(path, text) };
    }),
  };
}

const tensorOnly = { peerDependencies: { '@forerun/tensor': 'workspace:^' } };
const contracts = { peerDependencies: { '@forerun/tensor': 'workspace:^', '@forerun/contracts': 'workspace:^' } };

test.each([
  [
    'an import of a drafter in decoding',
    workspacePackage('packages/decoding', { 'src/loop.ts': "import { ngram } from '@forerun/drafters';" }, contracts),
    /src\/loop\.ts: imports @forerun\/drafters, an arrow that is not in the table/,
  ],
  [
    'a type import of a model in a test of decoding',
    workspacePackage(
      'packages/decoding',
      { 'src/loop.test.ts': "import type { X } from '@forerun/models';" },
      contracts,
    ),
    /imports @forerun\/models, an arrow/,
  ],
  [
    'a dependency on a verifier in package.json',
    workspacePackage('packages/decoding', {}, { devDependencies: { '@forerun/verifiers': 'workspace:^' } }),
    /package\.json: depends on @forerun\/verifiers/,
  ],
  [
    'a file of another package by path',
    workspacePackage(
      'packages/models',
      { 'src/llama.ts': "import { linear } from '../../tensor/src/index.ts';" },
      contracts,
    ),
    /a file of another package/,
  ],
  [
    "another package's src by name",
    workspacePackage(
      'packages/models',
      { 'src/llama.ts': "export { a } from '@forerun/tensor/src/graph.ts';" },
      contracts,
    ),
    /a path inside another package/,
  ],
  [
    'an undeclared dependency',
    workspacePackage('packages/models', { 'src/llama.ts': "await import('left-pad');" }, contracts),
    /imports left-pad, which is not among the dependencies/,
  ],
  [
    'a value taken from tensor by contracts',
    workspacePackage(
      'packages/contracts',
      { 'src/decoder.ts': "import { Tensor } from '@forerun/tensor';" },
      tensorOnly,
    ),
    /contracts may import only types and ForerunError, not Tensor/,
  ],
  [
    'a kernel in an app',
    workspacePackage('apps/demo', { 'src/glow.wgsl.ts': 'export const text = ``;' }),
    /a layer written inside an app/,
  ],
  [
    'a folder that says nothing',
    workspacePackage('packages/models', { 'src/utils/a.ts': 'export {};' }, contracts),
    /"utils" says nothing/,
  ],
  [
    'a WebGPU object outside tensor',
    workspacePackage('packages/models', { 'src/llama.ts': 'export function f(device: GPUDevice) {}' }, contracts),
    /names a WebGPU object/,
  ],
  ['a package without arrows', workspacePackage('packages/extra', {}), /not in the table/],
])('%s is a problem', (_, one, message) => {
  expect(arrowProblems([one])).toEqual([expect.stringMatching(message)]);
});

test('types and ForerunError may come from tensor into contracts', () => {
  const text =
    "import { ForerunError, type Tensor } from '@forerun/tensor';\nimport type { State } from '@forerun/tensor';";
  expect(arrowProblems([workspacePackage('packages/contracts', { 'src/errors.ts': text }, tensorOnly)])).toEqual([]);
});
