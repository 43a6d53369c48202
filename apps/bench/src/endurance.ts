/**
 * Generates many tokens in one process, in conversations that are opened and closed, and reports host and device memory on the way:
 * `node --conditions @forerun/source apps/bench/src/endurance.ts [tokens] [folder]`.
 */
import { load } from 'forerun';
import { stories, storiesDraft } from '@forerun/tiny';

const [tokens = '20000', folder] = process.argv.slice(2);
const model = await load(folder ?? stories, { capacityTokens: 512, ...(folder ? {} : { draft: storiesDraft }) });
const device = model.engine.device;
const samples: {
  tokens: number;
  conversations: number;
  heldBytes: number;
  residentBytes: number;
  deviceBytes: number;
}[] = [];
let produced = 0;
let conversations = 0;
let next = 0;
while (produced < Number(tokens)) {
  const drafter = conversations % 2 === 0 ? 'none' : 'n-gram';
  const conversation = model.open({ drafter });
  const prompt = Array.from({ length: 8 }, (_, i) => (conversations * 31 + i * 7 + 11) % model.config.vocabSize);
  for await (const step of conversation.generate({ prompt, maxTokens: 400, width: drafter === 'none' ? 1 : 4 })) {
    produced += step.tokens.length;
  }
  conversation.close();
  conversations++;
  if (produced < next) continue;
  next += Number(tokens) / 20;
  globalThis.gc?.();
  const { heapUsed, external, arrayBuffers, rss } = process.memoryUsage();
  const sample = {
    tokens: produced,
    conversations,
    heldBytes: heapUsed + external + arrayBuffers,
    residentBytes: rss,
    deviceBytes: device.memory.total,
  };
  samples.push(sample);
  process.stderr.write(`${JSON.stringify(sample)}\n`);
}
process.stdout.write(`${JSON.stringify({ adapter: device.adapter, samples })}\n`);
process.exit(0);
