/** Holds verifiers and static trees to published implementations, and the check of cases to its word. */
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { testDevice } from '@forerun/tensor/harness';
import { caseLine, caseTotal, checkSpeculative } from 'forerun/check';
import { describe, expect, it } from 'vitest';

const device = await testDevice();
const folder = fileURLToPath(new URL('../../fixtures/speculative', import.meta.url));

describe('golden cases of verdicts', { timeout: 600_000 }, () => {
  it.each([
    'eagle-posterior',
    'eagle-posterior-processors',
    'hf-speculative-sampling',
    'medusa-buffers',
    'medusa-select',
    'typical-acceptance',
    'verifier-exact',
    'verifier-runs',
  ])('%s', async (name) => {
    const { cases, ok } = await checkSpeculative(folder, device, { only: [name] });
    expect(cases).toEqual([{ name }]);
    expect(ok).toBe(true);
  });

  it('a wrong token, a case that is not built and one that cannot be read are missed', async () => {
    const copy = await mkdtemp(join(tmpdir(), 'forerun-cases-'));
    try {
      const name = 'hf-speculative-sampling';
      await cp(join(folder, name), join(copy, name), { recursive: true });
      const facts = JSON.parse(await readFile(join(copy, name, 'case.json'), 'utf8')) as {
        instances: { name: string; tokens: number[] }[];
      };
      facts.instances = facts.instances.slice(0, 2);
      facts.instances[1]!.tokens[0]! += 1;
      await writeFile(join(copy, name, 'case.json'), JSON.stringify(facts));
      for (const [other, text] of [
        ['telepathy', '{ "case": "telepathy" }'],
        ['torn', '{ "case": '],
        ['unnamed', '{ "case": "medusa-buffers-again", "choices": {} }'],
        ['untold', '{ "case": "medusa-buffers", "params": { "topk": 10 }, "choices": { "chain": [[0], [0, 0]] } }'],
        ['wrong', '{ "case": "medusa-select", "params": {}, "choices": {}, "instances": [{}] }'],
      ] as const) {
        await cp(join(folder, 'medusa-buffers'), join(copy, other), { recursive: true });
        await writeFile(join(copy, other, 'case.json'), text);
      }
      const seen: string[] = [];
      const result = await checkSpeculative(copy, device, { onCase: (one) => seen.push(caseLine(one)) });
      expect(result.ok).toBe(false);
      expect(caseTotal(result)).toBe('0/6');
      expect(seen[0]).toMatch(new RegExp(`^${name}  ${facts.instances[1]!.name}, tokens: got .* expected`));
      expect(seen[1]).toBe('telepathy  not built');
      expect(seen[2]).toMatch(/^torn {2}golden-file: /);
      expect(seen[3]).toBe('unnamed  case.json lacks params');
      expect(seen[4]).toMatch(/^untold {2}golden-file: .*expected a tensor chain\.attn_mask, got none/);
      expect(seen[5]).toMatch(/^wrong {2}.*not of the expected form/);
    } finally {
      await rm(copy, { recursive: true });
    }
    await expect(checkSpeculative(join(folder, 'verifier-exact'), device)).rejects.toThrow(/case\.json/);
  });
});
