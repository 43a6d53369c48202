/**
 * Where a step of the shipped model spends its time, dispatch by dispatch, plain and speculative:
 * `node --conditions @forerun/source apps/bench/src/profile.ts [width] [--json]`. The context is 128 tokens.
 */
import { loopWords } from '@forerun/contracts';
import { stories, storiesDraft } from '@forerun/tiny';
import { explain, explanationText, measureBandwidth, profile } from '@forerun/tensor';
import { load } from 'forerun';

const [width = '4', format] = process.argv.slice(2);
const context = 128;
const model = await load(stories, { draft: storiesDraft, capacityTokens: 512 });
const { engine } = model;
const { device } = engine;
const bandwidth = await measureBandwidth(device);
const prompt = Array.from({ length: context }, (_, index) => (index * 131 + 7) % model.config.vocabSize);
const results: object[] = [];
for (const [drafter, rows] of [
  ['none', 1],
  ['n-gram', Number(width)],
  ['draft-model', Number(width)],
] as const) {
  using conversation = model.open({ drafter });
  // A short run fills the caches and leaves the loop at the end of the context.
  for await (const _ of conversation.generate({ prompt, maxTokens: 1, width: rows })) break;
  const program = await conversation.program(rows);
  const { states } = conversation;
  const words = await states.read(engine.loop.loop);
  words[loopWords.stop] = 0;
  words[loopWords.budget] = 1000;
  const measured = await profile(program, {
    states,
    bound: context + rows,
    repeats: device.adapter.kind === 'hardware' ? 15 : 3,
    prepare: () => states.write(engine.loop.loop, words),
  });
  const explanation = explain(program, {
    bound: context + rows,
    profile: measured,
    bytesPerSecond: bandwidth.bytesPerSecond,
  });
  results.push({ drafter, width: rows, sections: measured.sections, explanation });
  if (format !== '--json') {
    process.stdout.write(
      `\n${drafter}, ${rows} rows: ${program.dispatches.length} dispatches, ${(measured.nanoseconds / 1e6).toFixed(2)} ms\n`,
    );
    process.stdout.write(`${explanationText(explanation)}\n`);
  }
}
if (format === '--json') process.stdout.write(`${JSON.stringify({ adapter: device.adapter, context, results })}\n`);
// A pipe takes what was printed before the process ends.
process.stdout.write('', () => process.exit(0));
