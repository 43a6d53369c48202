/** The examples of READMEs that need a model run as they stand, the story model in place of one's own. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runInThisContext } from 'node:vm';
import * as drafters from '@forerun/drafters';
import { stories } from '@forerun/tiny';
import * as verifiers from '@forerun/verifiers';
import * as forerun from 'forerun';
import { expect, it } from 'vitest';

const modules = { '@forerun/drafters': drafters, '@forerun/verifiers': verifiers, forerun } as const;
type Script = (parts: typeof modules, console: { readonly log: (line: string) => void }) => Promise<void>;

/** What the example of a package's README that loads a model logs. */
async function logged(name: string): Promise<string[]> {
  const text = readFileSync(new URL(`../../${name}/README.md`, import.meta.url), 'utf8');
  const code = [...text.matchAll(/```js\n([^]*?)```/g)].map(([, one]) => one!).find((one) => one.includes('load('))!;
  const body = code
    .replaceAll(/import (\{[^}]*\}) from ('[^']+');/g, 'const $1 = modules[$2];')
    .replace("'./my-checkpoint'", JSON.stringify(fileURLToPath(stories.url)));
  const lines: string[] = [];
  const script = runInThisContext(`async (modules, console) => {\n${body}\n}`) as Script;
  await script(modules, { log: (line) => void lines.push(line) });
  console.info(lines.join('\n'));
  return lines;
}

const tokensAPass = (line: string) => Number(/: (\d+\.\d\d) tokens a pass:/.exec(line)![1]);
const textOf = (line: string) => line.slice(line.indexOf('a pass:') + 7);

it('drafters: the same text from each, in fewer passes', async () => {
  const lines = await logged('drafters');
  expect(lines.map((line) => line.slice(0, line.indexOf(':')))).toEqual([
    'n-gram',
    'first(suffix, n-gram)',
    'same again',
  ]);
  expect(new Set(lines.map(textOf)).size).toBe(1);
  expect(textOf(lines[0]!).length).toBeGreaterThan(24);
  for (const line of lines) expect(tokensAPass(line)).toBeGreaterThanOrEqual(1);
  expect(tokensAPass(lines[0]!)).toBeGreaterThan(1);
});

it('verifiers: what each keeps', async () => {
  const lines = await logged('verifiers');
  const names = ['sample-and-match', 'block-verification', 'typical-acceptance (lossy)'];
  expect(lines.map((line) => line.slice(0, line.indexOf(':')))).toEqual(names);
  for (const line of lines) expect(tokensAPass(line)).toBeGreaterThanOrEqual(1);
  expect(tokensAPass(lines[2]!)).toBeGreaterThan(1);
});
