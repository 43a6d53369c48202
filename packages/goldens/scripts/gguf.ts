/**
 * Writes a GGUF file of a safetensors checkpoint.
 *
 *     node_modules/.bin/node --conditions=@forerun/source packages/goldens/scripts/gguf.ts <folder> <file.gguf> [Q8_0]
 *
 * The type is F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K. Memory is that of the largest tensor.
 */
import { open } from 'node:fs/promises';
import { folderSource, type GgufTensorType } from '@forerun/checkpoints';
import { ggufOfCheckpoint } from '../src/gguf/from-checkpoint.ts';

const [folder, file, type = 'Q8_0'] = process.argv.slice(2);
if (!folder || !file) throw new Error('Give a folder of a checkpoint and the name of the file to write.');
const handle = await open(file, 'w');
try {
  for await (const piece of ggufOfCheckpoint(folderSource(folder), { type: type as GgufTensorType })) {
    await handle.write(piece);
  }
} finally {
  await handle.close();
}
