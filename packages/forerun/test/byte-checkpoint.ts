/** A checkpoint with a tokenizer whose tokens are the 256 bytes: the golden llama, which says noise, but fast. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const fixtures = fileURLToPath(new URL('../../goldens/fixtures/', import.meta.url));

/** A folder of fixtures/models. */
export function goldenFolder(name: string): string {
  return join(fixtures, 'models', name);
}

/** Files that a checkpoint is given besides the golden one's. */
export interface ByteCheckpointFiles {
  readonly tokenizer?: boolean;
  readonly chatTemplate?: string;
  readonly generation?: Record<string, unknown>;
  readonly config?: Record<string, unknown>;
}

/** Writes a checkpoint into a folder of its own, which `remove` deletes. */
export function byteCheckpoint(files: ByteCheckpointFiles = {}): { readonly folder: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'forerun-test-'));
  cpSync(goldenFolder('llama'), folder, { recursive: true });
  if (files.tokenizer !== false) cpSync(join(fixtures, 'tokenizers', 'bytes.json'), join(folder, 'tokenizer.json'));
  const write = (name: string, content: unknown): void => writeFileSync(join(folder, name), JSON.stringify(content));
  if (files.chatTemplate !== undefined) write('tokenizer_config.json', { chat_template: files.chatTemplate });
  if (files.generation) write('generation_config.json', files.generation);
  if (files.config) write('config.json', files.config);
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
