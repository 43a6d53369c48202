/** Joins and unpacks what `pack-chromium.mjs` cut: that script bundles this one, with what the parts are in `CONTENTS`. */
import { unpackChromium } from '@forerun/tooling/unpack-chromium';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

const { parts, archives } = CONTENTS;
const [into] = process.argv.slice(2);
if (into === undefined) {
  process.stderr.write('usage: unpack-chromium FOLDER\n');
  process.exit(2);
}
const pieces = parts.map(({ name, bytes, sha256 }) => {
  const path = fileURLToPath(new URL(name, import.meta.url));
  const piece = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  if (createHash('sha256').update(piece).digest('hex') === sha256) return piece;
  process.stderr.write(
    `${path}: expected ${bytes} bytes of hash ${sha256}, found ${piece.length} others; bring it again.\n`,
  );
  process.exit(1);
});
const whole = Buffer.concat(pieces);
let end = 0;
const opened = archives.map(({ name, bytes }) => {
  const archive = whole.subarray(end, (end += bytes));
  return [name, () => Readable.from([archive])];
});
const folder = resolve(into);
await unpackChromium(new Map(opened), folder);
process.stdout.write(`${folder}/start\n`);
