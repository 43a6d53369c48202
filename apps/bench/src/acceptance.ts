/**
 * How many tokens a pass of the shipped model gives with each drafter, on held-out text:
 * `node --conditions @forerun/source apps/bench/src/acceptance.ts [prompts] [tokens] [--prompts FILE] [--drafters eagle,mtp] [--widths 4,16]
 * [--temperatures 0,0.8]`. Prompts are passages of 48 tokens of held-out stories, or of the texts of FILE (JSON lines). Whatever drafts, the tokens
 * are checked to be the same.
 */
import { parseArgs } from 'node:util';
import { type DrafterName, load } from 'forerun';
import { stories, storiesBlock, storiesDraft, storiesEagle, storiesMedusa, storiesMtp } from '@forerun/tiny';
import { heldOutStories, passages, textsOf } from './held-out.ts';

/** What is measured when nothing is said: drafters that see nothing, a model, and heads with the widths of their chains and trees. */
const usual: readonly (readonly [DrafterName, readonly number[]])[] = [
  ['n-gram', [4, 8]],
  ['draft-model', [4, 8]],
  ['mtp', [4]],
  ['medusa', [16, 64]],
  ['eagle', [16, 64]],
  ['block', [6, 16, 32]],
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prompts: { type: 'string' },
    drafters: { type: 'string' },
    widths: { type: 'string' },
    temperatures: { type: 'string', default: '0,0.8' },
  },
});
const [count = '20', tokens = '96'] = positionals;
const chosen = values.drafters?.split(',');
const widths = values.widths?.split(',').map(Number);
const settings = usual
  .filter(([drafter]) => chosen?.includes(drafter) ?? true)
  .flatMap(([drafter, own]) => (widths ?? own).map((width) => [drafter, width] as const));
const model = await load(stories, {
  draft: storiesDraft,
  heads: [storiesMtp, storiesMedusa, storiesEagle, storiesBlock],
  capacityTokens: 512,
});
const texts = values.prompts === undefined ? heldOutStories() : textsOf(values.prompts);
const prompts = passages(texts, (text) => model.encode(text), 48).slice(0, Number(count));
const table: object[] = [];
for (const temperature of (values.temperatures ?? '0').split(',').map(Number)) {
  const plain: string[] = [];
  for (const [drafter, width] of [['none', 1] as const, ...settings]) {
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
      if (plain[index] !== given.join()) throw new Error(`${drafter} at width ${width} changed text ${index}.`);
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
  `${JSON.stringify({ adapter: model.adapter, prompts: prompts.length, tokens: Number(tokens), table })}\n`,
);
process.exit(0);
