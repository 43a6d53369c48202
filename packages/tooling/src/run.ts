/** The repository's commands, one name each; `bootstrap.mjs` installs and calls this. */
import { spawnSync } from 'node:child_process';
import { arrowProblems } from './checks/arrows.ts';
import { builtProblems } from './checks/built.ts';
import { sizeProblems } from './checks/tracked-size.ts';
import { readWorkspace, root } from './checks/workspace.ts';

type Step = readonly [name: string, run: () => boolean];

/** Runs a program from `node_modules/.bin` in the repository root. */
function program(name: string, ...parameters: string[]): boolean {
  const result = spawnSync(name, parameters, {
    cwd: root,
    stdio: 'inherit',
    shell: process.platform === 'win32',
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1', TURBO_NO_UPDATE_NOTIFIER: '1', DO_NOT_TRACK: '1' },
  });
  if (result.error) console.error(`${name}: ${result.error.message}`);
  return result.status === 0;
}

function report(problems: readonly string[]): boolean {
  for (const problem of problems) console.error(`  ${problem}`);
  return problems.length === 0;
}

const build: Step = ['build', () => program('turbo', 'run', 'build', '--output-logs=errors-only', '--log-prefix=none')];

const builtPackages = 'built packages';

const checks: readonly Step[] = [
  ['types', () => program('tsc', '--project', 'tsconfig.json')],
  ['lint', () => program('oxlint', '--quiet')],
  ['format', () => program('oxfmt', '--check')],
  ['arrows', () => report(arrowProblems(readWorkspace()))],
  ['size', () => report(sizeProblems())],
  ['public documentation', () => program('typedoc', '--emit', 'none', '--logLevel', 'Warn')],
  [builtPackages, () => report(builtProblems(readWorkspace()))],
];

/** Runs vitest, leaving its JSON report in `test-output` under the step's name. */
function tests(name: string, ...parameters: readonly string[]): Step {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=test-output/${name}.json`];
  return [name, () => program('vitest', 'run', ...reporters, ...parameters)];
}

/** Tests run once more: all of kernels on the other implementation of WebGPU, or those of optional features on lavapipe. */
function lane(name: 'deno' | 'lavapipe', ...parameters: readonly string[]): Step {
  const script = { deno: 'deno-tests', lavapipe: 'feature-tests' }[name];
  return [name, () => program('node', `packages/tooling/src/lanes/${script}.ts`, ...parameters)];
}

/** Runs every step that can run, also after one failed, and says at the end which did. */
function all(steps: readonly Step[]): number {
  const failed: string[] = [];
  for (const [name, run] of steps) {
    if (name === builtPackages && failed.includes('build')) continue;
    console.log(`\n> ${name}`);
    const start = performance.now();
    const passed = run();
    console.log(`  ${name}: ${passed ? 'ok' : 'FAILED'}, ${((performance.now() - start) / 1000).toFixed(1)} s`);
    if (!passed) failed.push(name);
  }
  if (failed.length > 0) console.error(`\nFailed: ${failed.join(', ')}`);
  return failed.length === 0 ? 0 : 1;
}

function only(passed: boolean): number {
  return passed ? 0 : 1;
}

const commands: Readonly<Record<string, (parameters: string[]) => number>> = {
  setup: () => 0,
  start: (parameters) => only(program('forerun', 'demo', ...parameters)),
  test: (parameters) =>
    all([build, ...checks, tests('tests', ...parameters), ...(parameters.length > 0 ? [] : [lane('deno')])]),
  deno: (parameters) => all([lane('deno', ...parameters)]),
  lavapipe: (parameters) => all([lane('lavapipe', ...parameters)]),
  build: () => all([build]),
  check: () => all([build, ...checks]),
  format: () =>
    all([
      ['format', () => program('oxfmt')],
      ['lint', () => program('oxlint', '--fix', '--quiet')],
    ]),
  docs: () => only(program('typedoc')),
  'demo:web': (parameters) => only(program('pnpm', '--filter', '@forerun/demo', 'run', 'dev', ...parameters)),
  pnpm: (parameters) => only(program('pnpm', ...parameters)),
  bench: (parameters) => only(program('forerun', 'bench', ...parameters)),
};

const [name = '', ...parameters] = process.argv.slice(2);
const command = commands[name];
if (command === undefined) {
  console.error(`No command "${name}": expected one of ${Object.keys(commands).join(', ')}.`);
  process.exit(1);
}
process.exit(command(parameters));
