/**
 * Writes docs/performance.md from the committed results: `node --conditions @forerun/source apps/bench/src/performance-docs.ts`, from the
 * repository's root.
 */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { performancePage } from './performance/page.ts';
import { readResults } from './performance/results.ts';

const file = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
await writeFile(file('../../../docs/performance.md'), performancePage(readResults(file('../results'))));
