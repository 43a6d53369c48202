import { expect, test } from 'vitest';
import { declaredKernels, kernelsNotCompiled } from '../src/checks/kernels.ts';
import type { WorkspacePackage } from '../src/checks/workspace.ts';

function packageWith(text: string, path = 'packages/tensor/src/ops/a/a.wgsl.ts'): WorkspacePackage[] {
  return [{ folder: 'packages/tensor', manifest: { name: '@forerun/tensor' }, files: [{ path, text, imports: [] }] }];
}

const source = `
export const one = defineKernel({ name: 'one', bindings, wgsl: () => 'features: [\\'none\\']' });
const many = (lanes: number, packed: boolean) =>
  defineKernel({
    name: \`many-\${lanes}\${packed ? '-packed' : ''}\`,
    features: ['subgroups', 'shader-f16'],
    bindings,
    wgsl: (c) => body(c),
  });
`;

test('finds kernels, their templates and the features that they need', () => {
  expect(declaredKernels(packageWith(source)).map(({ name, features }) => [name, features])).toEqual([
    ['one', []],
    ["many-${lanes}${packed ? '-packed' : ''}", ['subgroups', 'shader-f16']],
  ]);
  expect(declaredKernels(packageWith(source, 'packages/tensor/src/ops/a/a.test.ts'))).toEqual([]);
});

test('refuses a kernel without a literal name', () => {
  expect(() => declaredKernels(packageWith('defineKernel({ bindings, name })'))).toThrow(/a\.wgsl\.ts.*name/);
});

test('matches names as they ran with names as written', () => {
  const declared = declaredKernels(packageWith(source));
  const missing = (...compiled: string[]) => kernelsNotCompiled(declared, new Set(compiled)).map(({ name }) => name);
  expect(missing('one', 'many-8')).toEqual([]);
  expect(missing('many-8-packed')).toEqual(['one']);
  expect(missing('one-more', 'man')).toHaveLength(2);
});
