/**
 * How many tokens a pass of the shipped model gives with each drafter, on held-out stories:
 * `node --conditions @forerun/source apps/bench/src/acceptance.ts [stories] [tokens]`. Whatever drafts, the tokens are checked to be the same.
 */
import { type DrafterChoice, load } from 'forerun';
import { stories, storiesDraft } from '@forerun/tiny';
import { heldOutStories } from './held-out.ts';

const [count = '20', tokens = '96'] = process.argv.slice(2);
const model = await load(stories, { draft: storiesDraft, capacityTokens: 512 });
const prompts = heldOutStories()
  .slice(0, Number(count))
  .map((text) => model.encode(text).slice(0, 48));
const table: object[] = [];
for (const temperature of [0, 0.8]) {
  const plain: string[] = [];
  const settings: readonly (readonly [DrafterChoice, number])[] = [
    ['none', 1],
    ['n-gram', 4],
    ['n-gram', 8],
    ['draft-model', 4],
    ['draft-model', 8],
  ];
  for (const [drafter, width] of settings) {
    let [rounds, produced] = [0, 0];
    const reached: number[] = [];
    for (const [index, prompt] of prompts.entries()) {
      const { tokens: given, statistics } = await model.generate(prompt, {
        drafter,
        width,
        maxTokens: Number(tokens),
        stopTokens: [],
        sampling: { temperature, seed: 1 },
      }).result;
      plain[index] ??= given.join();
      if (plain[index] !== given.join())
        throw new Error(`${String(drafter)} at width ${width} changed story ${index}.`);
      rounds += statistics.rounds;
      produced += statistics.generatedTokens;
      statistics.acceptanceByDepth.forEach(
        (share, depth) => (reached[depth] = (reached[depth] ?? 0) + share / prompts.length),
      );
    }
    const row = { drafter, width, temperature, acceptanceLength: produced / rounds, acceptanceByDepth: reached };
    table.push(row);
    process.stderr.write(`${JSON.stringify(row)}\n`);
  }
}
process.stdout.write(
  `${JSON.stringify({ adapter: model.adapter, stories: prompts.length, tokens: Number(tokens), table })}\n`,
);
process.exit(0);
