/**
 * The whole programme of measurements, a process a part, until a budget of time is spent:
 * `node apps/bench/dist/forerun.mjs everything RESULTS [--budget SECONDS] [--parts a,b] [--skip a,b] [--peers MODULES]
 * [--chromium EXECUTABLE] [--list]`.
 * Writes RESULTS/<part>.json as soon as a part is done (.jsonl where it prints a line each, .partial where it was cut off), RESULTS/<part>.log,
 * RESULTS/<part>.failure.json of one that failed or was cut off, with the figures that it had,
 * and RESULTS/everything.json, which says what ran and what did not.
 */
import { parseArgs } from 'node:util';
import { chosenParts, partsOf } from './programme/parts.ts';
import { runParts } from './programme/run-parts.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    budget: { type: 'string', default: '540' },
    parts: { type: 'string', default: '' },
    skip: { type: 'string', default: '' },
    peers: { type: 'string' },
    chromium: { type: 'string' },
    list: { type: 'boolean', default: false },
  },
});
const names = (text: string): string[] => text.split(',').filter((name) => name !== '');
const parts = chosenParts(partsOf(values), { only: names(values.parts), skip: names(values.skip) });
const [folder] = positionals;
const budgetSeconds = Number(values.budget);
if (values.list) {
  for (const { name, seconds, parameters } of parts) {
    process.stdout.write(`${name.padEnd(28)} ${String(seconds).padStart(4)} s  ${parameters.join(' ')}\n`);
  }
} else if (folder === undefined || !(budgetSeconds > 0)) {
  process.stderr.write(
    'usage: everything RESULTS [--budget SECONDS] [--parts a,b] [--skip a,b] [--peers MODULES] [--chromium EXECUTABLE] [--list]\n',
  );
  process.exitCode = 2;
} else {
  const summary = await runParts(parts, {
    folder,
    budgetSeconds,
    command: [process.execPath, process.argv[1]!],
    onPart: ({ name, outcome, seconds }) => void process.stderr.write(`${name}: ${outcome}, ${seconds.toFixed(1)} s\n`),
  });
  process.exitCode = summary.parts.every(({ outcome }) => outcome === 'done') ? 0 : 1;
}
