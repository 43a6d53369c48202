/**
 * This library and its peers on one file, in one run: `node apps/bench/dist/forerun.mjs peers PRESET --modules FOLDER`, where FOLDER has
 * node_modules with node-llama-cpp and onnxruntime-node. Each engine has a process of its own, and all take turns. Prints JSON.
 * `--engines ours-f16,ours-i8,vulkan,cuda,onnx` chooses, `--file MODEL.gguf` uses a file that is there, `--rounds`, `--runs` and `--tokens` say how often.
 */
import type { ConfigJson } from '@forerun/checkpoints';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { presets } from 'forerun/bench';
import { comparePeers, engineNames, measureEngine } from './peers/compare.ts';
import { writeShapeGguf } from './peers/shape-gguf.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    modules: { type: 'string', default: '.' },
    engines: { type: 'string', default: 'ours-f32,ours-f16,ours-i8,vulkan,cuda,onnx' },
    file: { type: 'string' },
    one: { type: 'string' },
    rounds: { type: 'string', default: '2' },
    runs: { type: 'string', default: '3' },
    tokens: { type: 'string', default: '128' },
    widths: { type: 'string', default: '1,2,4,8,16' },
  },
});
const { modules } = values;
const protocol = {
  tokens: Number(values.tokens),
  runs: Number(values.runs),
  widths: values.widths.split(',').map(Number),
};
const [name = 'qwen3-0.6b'] = positionals;
const json = presets[name] ?? (JSON.parse(await readFile(name, 'utf8')) as ConfigJson);
if (values.one !== undefined) {
  process.stdout.write(
    `${JSON.stringify(await measureEngine(values.one, { ...protocol, json, modules, file: values.file! }))}\n`,
  );
} else {
  const folder = await mkdtemp(join(tmpdir(), 'forerun-peers-'));
  try {
    const file = values.file ?? join(folder, 'model.gguf');
    if (values.file === undefined) await writeShapeGguf(json, file);
    const engines = values.engines.split(',').filter((engine) => engineNames.includes(engine));
    const command = [process.execPath, ...process.execArgv, process.argv[1]!];
    const self = process.argv[1]!.endsWith('peers.ts') ? command : [...command, 'peers'];
    const shared = [
      '--modules',
      modules,
      '--file',
      file,
      '--runs',
      values.runs,
      '--tokens',
      values.tokens,
      '--widths',
      values.widths,
    ];
    const report = await comparePeers(engines, {
      rounds: Number(values.rounds),
      command: (engine) => [...self, name, '--one', engine, ...shared],
      onEngine: (text) => void process.stderr.write(`${text}\n`),
    });
    process.stdout.write(`${JSON.stringify({ model: name, ...report })}\n`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
process.exit(0);
