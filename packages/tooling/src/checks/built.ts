/**
 * Holds the built packages to what a stranger installs: publint and attw on the packed tarball, and the same names
 * from `dist` as from source.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type WorkspacePackage, root } from './workspace.ts';

/** Lines that say what is wrong with each published package as built. */
export function builtProblems(workspace: readonly WorkspacePackage[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'forerun-pack-'));
  try {
    return workspace.filter(({ manifest }) => manifest.private !== true).flatMap((one) => [...problemsOf(one, folder)]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function* problemsOf(one: WorkspacePackage, packFolder: string): Generator<string> {
  const cwd = join(root, one.folder);
  const tarball = join(packFolder, `${one.folder.replaceAll('/', '-')}.tgz`);
  const attempts = [
    ['pnpm', 'pack', '--silent', '--out', tarball],
    ['publint', 'run', tarball, '--strict', '--level', 'warning'],
    ['attw', tarball, '--profile', 'esm-only', '--format', 'ascii', '--no-color', '--no-emoji'],
  ] as const;
  for (const [command, ...parameters] of attempts) {
    const { status, output } = run(command, parameters, cwd);
    if (status !== 0) yield `${one.manifest.name}: ${command} failed\n${output}`;
  }
  yield* importProblems(one, cwd);
}

/**
 * The library runs on the oldest Node that is supported, so its built form is imported with the Node that started the
 * command.
 */
function* importProblems(one: WorkspacePackage, cwd: string): Generator<string> {
  const print = `import(${JSON.stringify(one.manifest.name)}).then((names) => { console.log(Object.keys(names).sort().join(' ')); process.exit(0); })`;
  const built = run(
    process.env['FORERUN_CALLER_NODE'] ?? process.execPath,
    ['--input-type=module', '--eval', print],
    cwd,
  );
  const source = run(process.execPath, ['--conditions=@forerun/source', '--input-type=module', '--eval', print], cwd);
  if (built.status !== 0) yield `${one.manifest.name}: the built package cannot be imported\n${built.output}`;
  else if (source.status !== 0) yield `${one.manifest.name}: the source cannot be imported\n${source.output}`;
  else if (built.output !== source.output)
    yield `${one.manifest.name}: dist exports "${built.output.trim()}", source exports "${source.output.trim()}"`;
}

function run(command: string, parameters: readonly string[], cwd: string): { status: number | null; output: string } {
  const result = spawnSync(command, parameters, {
    cwd,
    encoding: 'utf8',
    shell: process.platform === 'win32' && !command.includes('node'),
  });
  return {
    status: result.status,
    output: `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`,
  };
}
