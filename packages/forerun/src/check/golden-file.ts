import { type ByteSource, type ReadOptions, readHeader, type SafetensorsEntry } from '@forerun/checkpoints';
import { elementCount, ForerunError, shapeText } from '@forerun/tensor';

/** `golden.safetensors` is missing something, or does not belong to the checkpoint beside it. */
export class GoldenFileError extends ForerunError {
  constructor(message: string, options?: ErrorOptions) {
    super('golden-file', message, options);
  }
}

/** What a trusted implementation computed from a checkpoint. */
export interface Golden {
  /** T tokens of one sequence. */
  readonly inputIds: Uint32Array<ArrayBuffer>;
  /** `[T, V]`: logits of every position, from one causal pass. */
  readonly logits: Float32Array<ArrayBuffer>;
  readonly greedyPrompt: Uint32Array<ArrayBuffer>;
  /** What greedy decoding continues the prompt with. */
  readonly greedyTokens: Uint32Array<ArrayBuffer>;
}

/** Name of the file beside a checkpoint's config.json. */
export const goldenFile = 'golden.safetensors';

const maxTensorBytes = 1 << 30;

/**
 * Reads `golden.safetensors`.
 *
 * @param vocabSize - V of the checkpoint.
 * @throws GoldenFileError when a tensor is missing or of another shape or dtype; SafetensorsError; FileMissingError.
 */
export async function readGolden(source: ByteSource, vocabSize: number, options: ReadOptions = {}): Promise<Golden> {
  const where = `${source.describe()}/${goldenFile}`;
  const { entries } = await readHeader(source, goldenFile, options);
  const read = async (name: string, dtype: 'F32' | 'I32', fits: (shape: readonly number[]) => boolean) => {
    const entry = entries.find((candidate) => candidate.name === name);
    if (!entry || entry.dtype !== dtype || !fits(entry.shape)) throw misfit(where, { name, dtype, vocabSize }, entry);
    if (entry.end - entry.begin > maxTensorBytes) {
      throw new GoldenFileError(
        `${where}: ${name} has ${entry.end - entry.begin} bytes, expected at most ${maxTensorBytes}.`,
      );
    }
    const bytes = await source.read(goldenFile, entry.begin, entry.end, options);
    return bytes.slice().buffer;
  };
  const tokens = async (name: string): Promise<Uint32Array<ArrayBuffer>> => {
    const list = new Uint32Array(await read(name, 'I32', (shape) => shape.length === 1 && shape[0]! > 0));
    const outside = list.find((token) => token >= vocabSize);
    if (outside === undefined) return list;
    throw new GoldenFileError(
      `${where}: ${name} has the token ${outside | 0}, expected ids from 0 to ${vocabSize - 1}.`,
    );
  };
  const inputIds = await tokens('input_ids');
  const logits = await read('logits', 'F32', (shape) => shapeText(shape) === shapeText([inputIds.length, vocabSize]));
  return {
    inputIds,
    logits: new Float32Array(logits),
    greedyPrompt: await tokens('greedy_prompt'),
    greedyTokens: await tokens('greedy_tokens'),
  };
}

function misfit(
  where: string,
  { name, dtype, vocabSize }: { name: string; dtype: string; vocabSize: number },
  entry: SafetensorsEntry | undefined,
): GoldenFileError {
  const shape = name === 'logits' ? `one row of ${vocabSize} for each of input_ids` : 'a list';
  const came = entry ? `${entry.dtype} ${shapeText(entry.shape)} (${elementCount(entry.shape)} elements)` : 'nothing';
  return new GoldenFileError(
    `${where}: expected ${name} as ${dtype}, ${shape}; got ${came}. Write the file again from this checkpoint.`,
  );
}
