/**
 * Perplexity of the shipped model on held-out stories in each weight format:
 * `node --conditions @forerun/source apps/bench/src/perplexity.ts [tokens]`. Stories are read whole, up to 512 tokens each, until `tokens` have
 * been predicted.
 */
import { folderSource, loadTokenizer, loadWeights, openCheckpoint, type WeightPolicy } from '@forerun/checkpoints';
import { loadModel } from '@forerun/models';
import { requestDevice, WeightStore, WeightUpload } from '@forerun/tensor';
import { stories } from '@forerun/tiny';
import { ForwardRunner } from 'forerun/check';
import { fileURLToPath } from 'node:url';
import { heldOutStories } from './held-out.ts';

const [tokens = '4000'] = process.argv.slice(2);
const longest = 512;
const device = await requestDevice();
const folder = fileURLToPath(stories.url);
const tokenizer = await loadTokenizer(folderSource(folder));
const sequences: Uint32Array[] = [];
let planned = 0;
for (const text of heldOutStories()) {
  if (planned >= Number(tokens)) break;
  const ids = Uint32Array.from(tokenizer.encode(text)).slice(0, Math.min(longest, Number(tokens) - planned + 1));
  sequences.push(ids);
  planned += ids.length - 1;
}

/** Sum of `-ln p` of each next token. */
function loss(logits: Float32Array, ids: Uint32Array, vocabSize: number): number {
  let sum = 0;
  for (let at = 0; at + 1 < ids.length; at++) {
    const row = logits.subarray(at * vocabSize, (at + 1) * vocabSize);
    let peak = -Infinity;
    for (const value of row) peak = Math.max(peak, value);
    let total = 0;
    for (const value of row) total += Math.exp(value - peak);
    sum += Math.log(total) + peak - row[ids[at + 1]!]!;
  }
  return sum;
}

const perplexities: Record<string, number> = {};
for (const format of ['f32', 'f16', 'q8', 'q4'] satisfies WeightPolicy[]) {
  const checkpoint = await openCheckpoint(folderSource(folder), { weights: format });
  const { decoder, weights } = await loadModel(checkpoint);
  const store = new WeightStore(device);
  const runner = await ForwardRunner.compile(
    device,
    { decoder, weights: store },
    { chunkSizes: [32], capacityTokens: longest },
  );
  await loadWeights(checkpoint, weights, new WeightUpload(store));
  let sum = 0;
  for (const ids of sequences) {
    runner.reset();
    sum += loss(await runner.append(ids, 32), ids, decoder.vocabSize);
  }
  perplexities[format] = Math.exp(sum / planned);
  process.stderr.write(`${format} ${perplexities[format]}\n`);
  runner.destroy();
  store.destroy();
}
process.stdout.write(
  `${JSON.stringify({ adapter: device.adapter, tokens: planned, stories: sequences.length, perplexities })}\n`,
);
process.exit(0);
