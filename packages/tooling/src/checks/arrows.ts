/**
 * Who may import whom, held against package.json files and import statements alike. Cycles between files, file length
 * and names of files are the linter's.
 */
import { posix } from 'node:path';
import type { SourceFile, WorkspacePackage } from './workspace.ts';

const base = ['tensor', 'contracts'];
const libraries = [
  'attention',
  'checkpoints',
  'contracts',
  'decoding',
  'drafters',
  'layers',
  'models',
  'mtp',
  'tensor',
  'tiny',
  'verifiers',
];

/** The one table: folder of a package or app, and the workspace packages that it may import. */
export const arrows: Readonly<Record<string, readonly string[]>> = {
  'packages/tensor': [],
  'packages/contracts': ['tensor'],
  'packages/checkpoints': ['tensor'],
  'packages/attention': base,
  'packages/layers': [...base, 'attention', 'checkpoints'],
  'packages/models': [...base, 'attention', 'checkpoints', 'layers'],
  'packages/decoding': base,
  'packages/mtp': [...base, 'attention', 'checkpoints', 'layers'],
  'packages/drafters': [...base, 'mtp'],
  'packages/verifiers': base,
  'packages/tiny': [],
  'packages/forerun': libraries,
  'packages/goldens': [...libraries, 'forerun'],
  'packages/tooling': [],
  'apps/demo': [...libraries, 'forerun'],
  'apps/bench': [...libraries, 'forerun'],
  'apps/training': [],
};

const shortNames = new Set([...libraries, 'goldens', 'tooling']);
const vague = new Set(['utils', 'util', 'common', 'shared', 'core', 'misc', 'helpers']);
const layerFolders = new Set(['ops', 'kernels', 'layers', 'attention', 'models', 'drafters', 'verifiers']);

/** Lines that say what breaks the table, and where; none if all is well. */
export function arrowProblems(workspace: readonly WorkspacePackage[]): string[] {
  return workspace.flatMap((workspacePackage) => [...packageProblems(workspacePackage)]);
}

function* packageProblems(one: WorkspacePackage): Generator<string> {
  const allowed = arrows[one.folder];
  if (allowed === undefined) {
    yield `${one.folder}: not in the table of packages/tooling/src/checks/arrows.ts; add its arrows there and to docs/architecture.md`;
    return;
  }
  const { dependencies = {}, peerDependencies = {}, devDependencies = {} } = one.manifest;
  for (const name of Object.keys({ ...dependencies, ...peerDependencies, ...devDependencies })) {
    const target = shortName(name);
    if (target === undefined || (target === 'tooling' && name in devDependencies)) continue;
    if (!allowed.includes(target))
      yield `${one.folder}/package.json: depends on ${name}, an arrow that is not in the table`;
  }
  const shipped = new Set(Object.keys({ ...dependencies, ...peerDependencies }));
  const declared = new Set([...shipped, ...Object.keys(devDependencies)]);
  for (const file of one.files) {
    yield* nameProblems(one, file);
    for (const { specifier, names, typeOnly } of file.imports) {
      if (specifier.startsWith('.')) {
        const target = posix.join(posix.dirname(file.path), specifier);
        if (!target.startsWith(`${one.folder}/`))
          yield `${file.path}: imports "${specifier}", a file of another package; import the package by its name`;
        else if (/^\.\.?(\/\.\.)*\/index\.ts$/.test(specifier) && !isTest(file))
          yield `${file.path}: imports its own package's index; import the file that has the name`;
        continue;
      }
      const name = packageName(specifier);
      if (name === undefined) continue;
      const target = shortName(name);
      if (
        target !== undefined &&
        name !== one.manifest.name &&
        !allowed.includes(target) &&
        !(target === 'tooling' && (isTest(file) || !isSource(one, file)))
      ) {
        yield `${file.path}: imports ${name}, an arrow that is not in the table`;
      } else if (target !== undefined && /\/(src|dist)(\/|$)/.test(specifier.slice(name.length))) {
        yield `${file.path}: imports "${specifier}", a path inside another package; import what its index exports`;
      } else if (
        isSource(one, file) &&
        !isTest(file) &&
        name !== one.manifest.name &&
        !shipped.has(name) &&
        one.manifest.private !== true
      ) {
        yield `${file.path}: imports ${name}, which is not among the dependencies of ${one.folder}/package.json`;
      } else if (!declared.has(name) && name !== one.manifest.name && !fromRoot.has(name)) {
        yield `${file.path}: imports ${name}, which ${one.folder}/package.json does not declare`;
      }
      if (
        one.folder === 'packages/contracts' &&
        isSource(one, file) &&
        !isTest(file) &&
        !typeOnly &&
        names.some((imported) => imported !== 'ForerunError')
      ) {
        yield `${file.path}: contracts may import only types and ForerunError, not ${names.join(', ')}`;
      }
    }
  }
}

/** Tools that the root installs for tests and build files of every package. */
const fromRoot = new Set(['vitest', 'tsup', 'vite', '@sparticuz/chromium', 'playwright-core', '@types/node']);

function* nameProblems(one: WorkspacePackage, file: SourceFile): Generator<string> {
  const parts = file.path.split('/');
  for (const part of parts)
    if (vague.has(part.replace(/\..*$/, ''))) yield `${file.path}: "${part}" says nothing; name it by what it holds`;
  if (one.folder.startsWith('apps/')) {
    if (
      /\.(wgsl|reference)\.ts$/.test(file.path) ||
      parts.slice(2, -1).some((part) => layerFolders.has(part)) ||
      /\bdefineKernel\s*\(/.test(file.text)
    ) {
      yield `${file.path}: a layer written inside an app; it belongs in a package`;
    }
    if (file.imports.some(({ specifier }) => packageName(specifier) === '@forerun/attention'))
      yield `${file.path}: an app puts models together by the front door, not from @forerun/attention`;
  }
  const mayNameDevice = one.folder === 'packages/tensor' || one.folder === 'packages/tooling' || isTest(file);
  if (
    !mayNameDevice &&
    /\bGPU(Device|Buffer|Queue|CommandEncoder|ComputePipeline|BindGroup|ShaderModule)\b/.test(file.text)
  ) {
    yield `${file.path}: names a WebGPU object; only @forerun/tensor does`;
  }
}

function isSource(one: WorkspacePackage, file: SourceFile): boolean {
  return file.path.startsWith(`${one.folder}/src/`);
}

function isTest(file: SourceFile): boolean {
  return /\.(test|bench)\.ts$/.test(file.path) || file.path.split('/').includes('test');
}

function packageName(specifier: string): string | undefined {
  if (specifier.startsWith('#') || specifier.startsWith('node:') || specifier.startsWith('virtual:')) return undefined;
  return /^(@[^/]+\/[^/]+|[^/]+)/.exec(specifier)?.[0];
}

function shortName(name: string): string | undefined {
  if (name === 'forerun') return 'forerun';
  const short = name.startsWith('@forerun/') ? name.slice('@forerun/'.length) : undefined;
  return short !== undefined && shortNames.has(short) ? short : undefined;
}
