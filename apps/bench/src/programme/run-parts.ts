import { spawn } from 'node:child_process';
import { createWriteStream, existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Part } from './parts.ts';

/** How a part ended. */
export interface PartResult {
  readonly name: string;
  /** `failed`: it ended with another code than 0, and what it wrote is kept; `left-out`: the budget was spent before. */
  readonly outcome: 'done' | 'failed' | 'timed-out' | 'left-out';
  readonly seconds: number;
  readonly code: number | null;
  readonly parameters: readonly string[];
}

/** What ran. */
export interface ProgrammeSummary {
  readonly budget_seconds: number;
  readonly seconds: number;
  readonly parts: readonly PartResult[];
}

/** How parts are run. */
export interface RunPartsOptions {
  /** Where results go. */
  readonly folder: string;
  readonly budgetSeconds: number;
  /** What is started, before a part's own parameters. */
  readonly command: readonly string[];
  readonly onPart?: (result: PartResult) => void;
}

/** A part that has less time than this left is not begun. */
const leastSeconds = 5;

/** Gives what a part wrote its name: one object is `.json`, a line each are `.jsonl`, and what was cut off stays `.partial`. */
async function nameResult(
  partial: string,
  { folder, name, whole }: { folder: string; name: string; whole: boolean },
): Promise<void> {
  const text = await readFile(partial, 'utf8');
  if (text.trim() === '') return rm(partial);
  if (whole) await rename(partial, join(folder, `${name}.${jsonOf(text) === undefined ? 'jsonl' : 'json'}`));
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const failureFile = (folder: string, name: string): string => join(folder, `${name}.failure.json`);

/** Lines of a log that are kept of a part that did not end well. */
const keptLines = 30;

/** Writes down what a part left that did not end well: the figures that it wrote as lines of JSON, those of its log first, and its last words. */
async function writeFailure(folder: string, result: PartResult): Promise<void> {
  const texts = ['log', 'partial', 'jsonl']
    .map((ending) => join(folder, `${result.name}.${ending}`))
    .filter(existsSync);
  const lines = texts.flatMap((path) => readFileSync(path, 'utf8').split('\n')).filter((line) => line !== '');
  const isFigure = (line: string): boolean => typeof jsonOf(line) === 'object';
  const failure = {
    ...result,
    measured: lines.filter(isFigure).map(jsonOf),
    said: lines.filter((line) => !isFigure(line)).slice(-keptLines),
  };
  await writeFile(failureFile(folder, result.name), `${JSON.stringify(failure, null, 2)}\n`);
}

async function runPart(
  part: Part,
  options: { folder: string; command: readonly string[]; seconds: number },
): Promise<PartResult> {
  const { folder, command, seconds } = options;
  const start = performance.now();
  const [program, ...first] = command;
  const partial = join(folder, `${part.name}.partial`);
  const child = spawn(program!, [...first, ...part.parameters], { stdio: ['ignore', 'pipe', 'pipe'] });
  const written = createWriteStream(partial);
  const log = createWriteStream(join(folder, `${part.name}.log`));
  child.stdout.pipe(written);
  child.stderr.pipe(log);
  let late = false;
  let timer: NodeJS.Timeout | undefined;
  const code = await new Promise<number | null>((resolve) => {
    timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
      // A process that hangs inside a driver cannot be ended; the next part is begun without it.
      timer = setTimeout(() => {
        child.unref();
        for (const stream of [child.stdout, child.stderr]) stream.destroy();
        resolve(null);
      }, leastSeconds * 1000);
    }, seconds * 1000);
    child.on('error', (error) => {
      log.write(`${error.message}\n`);
      resolve(null);
    });
    child.on('close', resolve);
  });
  clearTimeout(timer);
  await Promise.all([written, log].map((stream) => new Promise((resolve) => stream.end(resolve))));
  await nameResult(partial, { folder, name: part.name, whole: !late });
  const outcome = late ? 'timed-out' : code === 0 ? 'done' : 'failed';
  const taken = (performance.now() - start) / 1000;
  const result: PartResult = { name: part.name, outcome, seconds: taken, code, parameters: part.parameters };
  if (outcome === 'done') await rm(failureFile(folder, part.name), { force: true });
  else await writeFailure(folder, result);
  return result;
}

/** Runs parts in order, each in a process of its own, as long as the budget lasts; the summary is written after every part. */
export async function runParts(parts: readonly Part[], options: RunPartsOptions): Promise<ProgrammeSummary> {
  const { folder, budgetSeconds, command, onPart = () => undefined } = options;
  await mkdir(folder, { recursive: true });
  const start = performance.now();
  const spent = () => (performance.now() - start) / 1000;
  const results: PartResult[] = [];
  const summary = (): ProgrammeSummary => ({ budget_seconds: budgetSeconds, seconds: spent(), parts: results });
  for (const part of parts) {
    const left = budgetSeconds - spent();
    const { name, parameters } = part;
    const result: PartResult =
      left < leastSeconds
        ? { name, outcome: 'left-out', seconds: 0, code: null, parameters }
        : await runPart(part, { folder, command, seconds: Math.min(part.seconds, left) });
    results.push(result);
    onPart(result);
    await writeFile(join(folder, 'everything.json'), `${JSON.stringify(summary(), null, 2)}\n`);
  }
  return summary();
}
