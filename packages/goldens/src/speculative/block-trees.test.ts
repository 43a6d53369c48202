/** Trees of the block drafter that ships for the story model: plain decoding's tokens and cache in fewer passes than its chains. */
import { folderSource, openCheckpoint } from '@forerun/checkpoints';
import { MismatchedPartsError } from '@forerun/contracts';
import { Engine } from '@forerun/decoding';
import { block } from '@forerun/drafters';
import { blockHead } from '@forerun/mtp';
import { loadModel } from '@forerun/models';
import { ArgumentError, WeightStore } from '@forerun/tensor';
import { testDevice } from '@forerun/tensor/harness';
import { stories, storiesBlock, type TinyCheckpoint } from '@forerun/tiny';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { fillWeights, type OwnedWeights } from 'forerun/check';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { fullRuns } from './full-runs.ts';
import { owning } from './golden-case.ts';

const device = await testDevice();
const open = ({ url }: TinyCheckpoint) => openCheckpoint(folderSource(fileURLToPath(url)));
const checkpoint = await open(stories);
const { decoder, weights } = await loadModel(checkpoint);
const owned: OwnedWeights[] = [{ checkpoint, weights }];
const store = new WeightStore(device);
/** "Once upon a time, there was a little girl named Lily. She", and 33 tokens behind it until the conversation is full. */
const prompt = [0, 710, 547, 259, 467, 12, 414, 300, 259, 429, 612, 740, 616, 14, 424];
const parts = {
  device,
  verifier: sampleAndMatch(),
  noise: philoxNoise,
  weights: { store, fill: (wanted: Parameters<typeof fillWeights>[2]) => fillWeights(store, owned, wanted) },
  capacityTokens: prompt.length + 33,
  chunkTokens: [16],
};
const engine = await Engine.create({ ...parts, decoder });
const head = await owning(owned)(open(storiesBlock), (one) => blockHead(one, decoder));
const { run, differingRows } = fullRuns(engine, prompt);

const samplings = { greedy: {}, sampled: { temperature: 0.8, topP: 0.95, seed: 5 } } as const;
const plain = {
  greedy: await run(undefined, { width: 1 }),
  sampled: await run(undefined, { width: 1, sampling: samplings.sampled }),
};
const chain = block(head, { tree: 'chain' });
const chains = {
  greedy: await run(chain, { width: 6 }),
  sampled: await run(chain, { width: 6, sampling: samplings.sampled }),
};
const small = [[0], [1], [2], [0, 0], [0, 1], [1, 0], [0, 0, 0], [0, 0, 0, 0]];

const bestFirst = block(head);
const drafters = [
  ['best first, 16 rows', bestFirst, 16, true],
  ['best first of few candidates, 8 rows', block(head, { tree: 'best-first', topK: 3 }), 8, false],
  ['a list of paths', block(head, { tree: small }), 16, false],
  ['children by probability alone', block(head, { children: 'most-likely' }), 16, false],
] as const;

describe.each(['greedy', 'sampled'] as const)('%s', (name) => {
  const sampling = samplings[name];

  test.each(name === 'greedy' ? drafters : drafters.slice(0, 2))(
    "%s: leaves plain decoding's tokens and cache",
    async (_, drafter, width, shorter) => {
      const got = await run(drafter, { width, sampling });
      console.info(`${got.rounds} rounds, ${chains[name].rounds} of the chain, ${plain[name].rounds} plain`);
      expect(got.tokens).toEqual(plain[name].tokens);
      expect(differingRows(got.cache, plain[name].cache)).toEqual([]);
      expect(got.rounds).toBeLessThan(plain[name].rounds);
      // A tree may be of use where a chain's first token is wrong.
      if (shorter) expect(got.rounds).toBeLessThan(chains[name].rounds);
    },
  );

  test('the chain does so too', () => {
    expect(chains[name].tokens).toEqual(plain[name].tokens);
    expect(differingRows(chains[name].cache, plain[name].cache)).toEqual([]);
  });
});

test("a tree leaves the drafter's own context as a chain does", async () => {
  const tree = await run(bestFirst, { width: 16 });
  expect(tree.drafterCache.length).toBeGreaterThan(0);
  expect(differingRows(tree.drafterCache, chains.greedy.drafterCache)).toEqual([]);
});

test('trees that cannot be made are refused; a target of chains gets chains', async () => {
  expect(() =>
    block(head, { tree: [[0], [0, 0], [0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]] }),
  ).toThrow(/block: .*1 to 5 levels.*got 6/);
  expect(() => block(head, { topK: 0 })).toThrow(ArgumentError);
  expect(() => block(head, { tree: 'best-first', children: 'drawn' })).toThrow(/fixed form/);
  const straight = await Engine.create({ ...parts, decoder: { ...decoder, branching: false } });
  expect(() => straight.open({ drafter: block(head, { tree: 'best-first' }) })).toThrow(MismatchedPartsError);
  straight.open({ drafter: block(head) }).close();
});
