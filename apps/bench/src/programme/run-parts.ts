import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
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
  if (whole) await rename(partial, join(folder, `${name}.${isJson(text) ? 'json' : 'jsonl'}`));
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
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
  const timer = setTimeout(() => {
    late = true;
    child.kill('SIGKILL');
  }, seconds * 1000);
  const code = await new Promise<number | null>((resolve) => {
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
  return { name: part.name, outcome, seconds: (performance.now() - start) / 1000, code, parameters: part.parameters };
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
