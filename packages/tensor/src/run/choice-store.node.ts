import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { env, pid, platform } from 'node:process';
import type { ChoiceStore } from '../compile/choices.ts';

/** The user's cache folder: `XDG_CACHE_HOME`, or what the system has for it. */
function cacheFolder(): string {
  const places = { darwin: join(homedir(), 'Library', 'Caches'), win32: env.LOCALAPPDATA };
  const system = (places as Partial<Record<string, string>>)[platform];
  return join(env.XDG_CACHE_HOME || system || join(homedir(), '.cache'), 'forerun');
}

/** Files in a folder, one a key. A file is complete or absent. */
export function folderChoiceStore(folder: () => string): ChoiceStore {
  return {
    read: async (key) => {
      try {
        return await readFile(join(folder(), `${key}.json`), 'utf8');
      } catch {
        return undefined;
      }
    },
    write: async (key, text) => {
      const path = join(folder(), `${key}.json`);
      try {
        await mkdir(folder(), { recursive: true });
        await writeFile(`${path}.${pid}`, text);
        await rename(`${path}.${pid}`, path);
      } catch {
        // Read-only or full: the next load measures again.
      }
    },
  };
}

/** Files in the user's cache folder. */
export const choiceStore: ChoiceStore = folderChoiceStore(cacheFolder);
