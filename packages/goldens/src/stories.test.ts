/**
 * Holds the shipped story model to what `transformers` computes from the same folder.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type ByteSource, folderSource, loadTokenizer } from '@forerun/checkpoints';
import { testDevice } from '@forerun/tensor/harness';
import { stories } from '@forerun/tiny';
import { checkFolder, checkLine, goldenFile, readGolden } from 'forerun/check';
import { expect, test } from 'vitest';

const fixtures = new URL('../fixtures/stories/', import.meta.url);

/** The shipped folder with the golden file beside its weights, which the package does not carry. */
function withGolden(): ByteSource {
  const shipped = folderSource(fileURLToPath(stories.url));
  const goldens = folderSource(fileURLToPath(fixtures));
  const holder = (path: string) => (path === goldenFile ? goldens : shipped);
  return {
    describe: () => shipped.describe(),
    exists: (path, options) => holder(path).exists(path, options),
    size: (path, options) => holder(path).size(path, options),
    version: (path, options) => holder(path).version(path, options),
    read: (path, begin, end, options) => holder(path).read(path, begin, end, options),
    readWhole: (path, options) => holder(path).readWhole(path, options),
    open: (path, begin, end, options) => holder(path).open(path, begin, end, options),
  };
}

test('logits in one pass, in chunks and token by token, and the greedy continuation', async () => {
  const result = await checkFolder(withGolden(), await testDevice());
  console.info(checkLine(result));
  expect(result).toMatchObject({ greedy: { matched: 40, total: 40 }, chunksOk: true, ok: true });
});

test('the tokenizer gives the ids that transformers gave, and the continuation reads as it did there', async () => {
  const source = withGolden();
  const tokenizer = await loadTokenizer(source);
  const golden = await readGolden(source, 4096);
  const lines = readFileSync(new URL('heldout.jsonl', fixtures), 'utf8').trim().split('\n');
  const meta = JSON.parse(readFileSync(new URL('meta.json', fixtures), 'utf8')) as {
    story: string;
    greedyText: string;
  };
  const texts = lines.map((line) => (JSON.parse(line) as { text: string }).text);
  const text = texts.find((candidate) => candidate.startsWith(meta.story))!;
  expect([...tokenizer.encode(text)].slice(0, golden.inputIds.length)).toEqual([...golden.inputIds]);
  expect(tokenizer.decode(golden.greedyTokens)).toBe(meta.greedyText);
});
