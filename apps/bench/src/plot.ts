/** Draws a result as an SVG file: `node --conditions @forerun/source apps/bench/src/plot.ts RESULT.json OUT.svg`. */
import { readFile, writeFile } from 'node:fs/promises';
import { chartOf } from './plots/charts.ts';
import { svgOf } from './plots/render.ts';

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  process.stderr.write('usage: plot RESULT.json OUT.svg\n');
  process.exit(2);
}
await writeFile(to, await svgOf(chartOf(JSON.parse(await readFile(from, 'utf8')))));
