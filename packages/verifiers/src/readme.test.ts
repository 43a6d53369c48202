import { readFileSync } from 'node:fs';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import * as verifiers from './index.ts';

it('runs the example of the README that needs no model', () => {
  const text = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const [, code] = /```js\n(import \{ enumerateChances[^]*?)```/.exec(text)!;
  const said: string[] = [];
  const script = code!.replace(/import (\{[^}]*\}) from '@forerun\/verifiers';/, 'const $1 = verifiers;');
  runInNewContext(script, { verifiers, console: { log: (line: string) => said.push(line) } });
  const [, expected] = /console\.log\(.*\); \/\/ (.*)/.exec(script)!;
  expect(said).toEqual([expected]);
});
