/** Holds the trees and loops of heads to published implementations, as `forerun check --speculative` does. */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testDevice } from '@forerun/tensor/harness';
import { checkSpeculative } from 'forerun/check';
import { afterAll, describe, expect, it } from 'vitest';

const device = await testDevice();
const folder = fileURLToPath(new URL('../../fixtures/speculative', import.meta.url));
const copies = await mkdtemp(join(tmpdir(), 'forerun-trees-'));
afterAll(() => rm(copies, { recursive: true }));

type Facts = Record<string, unknown>;
type Runs = { rounds: { tree_tokens: number[]; accept_length: number; uniforms?: number[] }[] }[];

/** Checks a copy of a case whose facts were changed. */
async function changed(name: string, change: (facts: Facts) => void): Promise<string | undefined> {
  const place = await mkdtemp(join(copies, 'case-'));
  await cp(join(folder, name), join(place, name), { recursive: true });
  for (const model of ['target-llama', 'eagle1', 'eagle3', 'medusa-heads']) {
    if (model !== name) await symlink(join(folder, model), join(place, model));
  }
  const facts = JSON.parse(await readFile(join(place, name, 'case.json'), 'utf8')) as Facts;
  change(facts);
  await writeFile(join(place, name, 'case.json'), JSON.stringify(facts));
  const { cases } = await checkSpeculative(place, device, { only: [name] });
  return cases[0]!.difference;
}

describe('golden cases of trees', { timeout: 600_000 }, () => {
  it.each([
    'eagle-loop',
    'eagle1',
    'eagle1-static',
    'eagle3',
    'eagle3-full-vocab',
    'hydra-mlp',
    'hydra-prefix-mlp',
    'medusa-heads',
    'medusa-loop',
  ])('%s', async (name) => {
    const { cases, ok } = await checkSpeculative(folder, device, { only: [name] });
    expect(cases).toEqual([{ name }]);
    expect(ok).toBe(true);
  });

  it('tells what differs', async () => {
    const first = (facts: Facts) => (facts['runs'] as Runs)[0]!.rounds[1]!;
    const one = (facts: Facts) => (facts['runs'] = (facts['runs'] as Runs).slice(0, 1));
    expect(
      await changed('medusa-loop', (facts) => {
        one(facts);
        first(facts).tree_tokens[2]! += 1;
      }),
    ).toMatch(/round 1, tree: got /);
    expect(
      await changed('hydra-mlp', (facts) => {
        first(facts).accept_length -= 1;
      }),
    ).toMatch(/round 1, accepted drafts: got /);
    expect(
      await changed('eagle1', (facts) => {
        const [tree] = facts['trees'] as { top_k: number }[];
        facts['trees'] = [tree];
        tree!.top_k = 2;
      }),
    ).toMatch(/small.0, (tokens|logits)/);
  });
});
