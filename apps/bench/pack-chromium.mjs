/**
 * Cuts the Chromium that npm brought for Linux x64 into parts that travel one by one to a machine without a registry:
 * `node apps/bench/pack-chromium.mjs OUT [MIB]`, parts of at most 28 MiB without a number. OUT then holds the parts and `unpack-chromium.mjs`,
 * which goes with them; there `node unpack-chromium.mjs FOLDER`, with Node 20 or later and nothing else, makes FOLDER/start, which starts the browser.
 */
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const [out, mib = '28'] = process.argv.slice(2);
const partBytes = Math.floor(Number(mib) * 2 ** 20);
if (out === undefined || !(partBytes > 0)) {
  process.stderr.write('usage: pack-chromium OUT [MIB]\n');
  process.exit(2);
}
const archives = join(dirname(dirname(fileURLToPath(import.meta.resolve('@sparticuz/chromium')))), 'bin');
const names = readdirSync(archives);
const files = names.map((name) => readFileSync(join(archives, name)));
const whole = Buffer.concat(files);
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

mkdirSync(out, { recursive: true });
const parts = [];
for (let begin = 0; begin < whole.length; begin += partBytes) {
  const bytes = whole.subarray(begin, begin + partBytes);
  const name = `chromium.part${parts.length + 1}`;
  writeFileSync(join(out, name), bytes);
  parts.push({ name, bytes: bytes.length, sha256: sha256(bytes) });
}
const contents = { parts, archives: names.map((name, at) => ({ name, bytes: files[at].length })) };
await build({
  entryPoints: [fileURLToPath(new URL('unpack-parts.mjs', import.meta.url))],
  outfile: resolve(out, 'unpack-chromium.mjs'),
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  conditions: ['@forerun/source'],
  define: { CONTENTS: JSON.stringify(contents) },
  // Bundled CommonJS asks for `require`, which a module does not have.
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  logLevel: 'warning',
});
for (const { name, bytes } of parts) process.stdout.write(`${name} ${bytes}\n`);
