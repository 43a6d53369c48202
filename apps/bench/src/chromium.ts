/**
 * The library in headless Chromium beside Node, on the same adapter: whether Chromium gets there and what stopped it where not, plain
 * decoding, replay, host time of a dispatch, readback.
 * `chromium --executable FILE [--config PRESET|config.json] [--tokens N] [--sets a,b]`; prints JSON, and
 * on stderr what is measured as soon as it is.
 */
import { stories } from '@forerun/tiny';
import { presets } from 'forerun/bench';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compareChromium } from './chromium/compare-chromium.ts';
import { describeAdapter } from './chromium/measure.ts';
import { pageScript } from './chromium/page-script.ts';

const { values } = parseArgs({
  options: {
    executable: { type: 'string', default: process.env['FORERUN_CHROMIUM'] ?? '' },
    config: { type: 'string' },
    tokens: { type: 'string' },
    sets: { type: 'string', default: '' },
  },
});
if (values.executable === '') {
  process.stderr.write('usage: chromium --executable FILE [--config PRESET|config.json] [--tokens N] [--sets a,b]\n');
  process.exit(2);
}
const { kind } = await describeAdapter();
const sizes = {
  hardware: { context: 512, tokens: 128, pairs: 3, widths: [1, 2, 4, 8, 16], readbacks: 200 },
  software: { context: 32, tokens: 12, pairs: 1, widths: [1, 4], readbacks: 5 },
}[kind];
// A preset is too much for a software adapter; the shipped model's shape is not.
const config =
  values.config ?? (kind === 'hardware' ? 'qwen3-0.6b' : fileURLToPath(new URL('config.json', stories.url)));
const json = presets[config] ?? JSON.parse(await readFile(config, 'utf8'));
const measure = { ...sizes, ...(values.tokens && { tokens: Number(values.tokens) }), acceptance: 0.8, json };

const result = await compareChromium({
  executable: values.executable,
  config,
  script: await pageScript(),
  stories: fileURLToPath(stories.url),
  measure,
  sets: values.sets.split(',').filter((name) => name !== ''),
  patience: { startSeconds: 30, measureSeconds: 100 },
  onStage: (stage) => void process.stderr.write(`${stage} …\n`),
  onMeasured: (figure) => void process.stderr.write(`${JSON.stringify(figure)}\n`),
});
process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
const { attempts, output_checked, same_text, failure } = result;
const measured = attempts.at(-1)?.outcome === 'ready' && same_text === true && result.chromium.shape !== undefined;
process.exit(measured && output_checked && failure === undefined ? 0 : 1);
