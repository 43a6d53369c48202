import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './workspace.ts';

const MB = 1_000_000;

/** Most bytes that git may track under a folder; a clone pays for every version of every file. */
const budgets: readonly (readonly [folder: string, bytes: number])[] = [
  ['', 36 * MB],
  ['packages/tiny/', 22 * MB],
];

/** Lines that name each folder over its budget, with its largest files. */
export function sizeProblems(): string[] {
  let listing: string;
  try {
    listing = execFileSync('git', ['ls-files', '-z'], { cwd: root, encoding: 'utf8', maxBuffer: 64 * MB });
  } catch {
    return []; // An archive without a repository has nothing tracked.
  }
  const files = listing
    .split('\0')
    .filter((path) => path !== '')
    .map((path) => ({ path, bytes: statSync(join(root, path), { throwIfNoEntry: false })?.size ?? 0 }));
  return budgets.flatMap(([folder, budgetBytes]) => {
    const inside = files.filter(({ path }) => path.startsWith(folder));
    const bytes = inside.reduce((sum, file) => sum + file.bytes, 0);
    if (bytes <= budgetBytes) return [];
    const largest = inside
      .sort((a, b) => b.bytes - a.bytes)
      .slice(0, 5)
      .map((file) => `${file.path} ${(file.bytes / MB).toFixed(1)} MB`);
    return [
      `${folder || 'the repository'} tracks ${(bytes / MB).toFixed(1)} MB, at most ${budgetBytes / MB} MB are allowed; largest: ${largest.join(', ')}`,
    ];
  });
}
