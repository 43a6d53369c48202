/**
 * Perplexity of the shipped model on held-out stories in each weight format, and in the arithmetics that the device has beside f32:
 * `node --conditions @forerun/source apps/bench/src/perplexity.ts [tokens] [case…]`, a case such as `q4` or `q4-i8`. Stories are read whole, up to 512 tokens each, until `tokens` have
 * been predicted.
 */
import { folderSource, loadTokenizer, loadWeights, openCheckpoint, type WeightPolicy } from '@forerun/checkpoints';
import { loadModel } from '@forerun/models';
import { type Arithmetic, MissingFeatureError, requestDevice, WeightStore, WeightUpload } from '@forerun/tensor';
import { stories } from '@forerun/tiny';
import { ForwardRunner } from 'forerun/check';
import { fileURLToPath } from 'node:url';
import { heldOutStories } from './held-out.ts';

const [tokens = '4000', ...asked] = process.argv.slice(2);
const cases: readonly (readonly [WeightPolicy, Arithmetic])[] = [
  ['f32', 'f32'],
  ['f16', 'f32'],
  ['q8', 'f32'],
  ['q4', 'f32'],
  ['q8', 'f16'],
  ['q4', 'f16'],
  ['q8', 'i8'],
  ['q4', 'i8'],
];
const caseName = (format: WeightPolicy, arithmetic: Arithmetic) =>
  arithmetic === 'f32' ? `${format}` : `${format}-${arithmetic}`;
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
for (const [format, arithmetic] of cases) {
  const name = caseName(format, arithmetic);
  if (asked.length > 0 && !asked.includes(name)) continue;
  const checkpoint = await openCheckpoint(folderSource(folder), { weights: format });
  const { decoder, weights } = await loadModel(checkpoint);
  const store = new WeightStore(device);
  let runner: ForwardRunner;
  try {
    const options = { chunkSizes: [32], capacityTokens: longest, arithmetic };
    runner = await ForwardRunner.compile(device, { decoder, weights: store }, options);
  } catch (error) {
    if (!(error instanceof MissingFeatureError)) throw error;
    process.stderr.write(`${name} not run: ${error.message}\n`);
    continue;
  }
  await loadWeights(checkpoint, weights, new WeightUpload(store));
  let sum = 0;
  for (const ids of sequences) {
    runner.reset();
    sum += loss(await runner.append(ids, 32), ids, decoder.vocabSize);
  }
  perplexities[name] = Math.exp(sum / planned);
  process.stderr.write(`${name} ${perplexities[name]}\n`);
  runner.destroy();
  store.destroy();
}
process.stdout.write(
  `${JSON.stringify({ adapter: device.adapter, tokens: planned, stories: sequences.length, perplexities })}\n`,
);
process.exit(0);
