/**
 * Writes a GGUF file of a model's shape, random blocks in Q4_0, for measuring here and in llama.cpp:
 * `node --conditions @forerun/source apps/bench/src/gguf.ts PRESET|config.json OUT.gguf`.
 */
import type { ConfigJson } from '@forerun/checkpoints';
import { readFile } from 'node:fs/promises';
import { presets } from 'forerun/bench';
import { writeShapeGguf } from './peers/shape-gguf.ts';

const [name, out] = process.argv.slice(2);
if (name === undefined || out === undefined) {
  process.stderr.write(`usage: gguf PRESET|config.json OUT.gguf, where PRESET is ${Object.keys(presets).join(', ')}\n`);
  process.exit(2);
}
const json = presets[name] ?? (JSON.parse(await readFile(name, 'utf8')) as ConfigJson);
const bytes = await writeShapeGguf(json, out);
process.stdout.write(`${JSON.stringify({ model: name, file: out, bytes })}\n`);
