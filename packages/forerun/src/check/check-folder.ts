import { type ByteSource, folderSource, loadWeights, openCheckpoint } from '@forerun/checkpoints';
import { loadModel } from '@forerun/models';
import { type Device, WeightStore, WeightUpload } from '@forerun/tensor';
import { relativeError } from '@forerun/tensor/harness';
import { ForwardRunner } from './forward.ts';
import { type Golden, readGolden } from './golden-file.ts';

/** Chunk sizes that all positions are computed in, besides one pass. */
export const checkedChunks = [32, 7, 1] as const;

/** How a checkpoint is checked. */
export interface CheckOptions {
  /** Largest `‖out − ref‖ / ‖ref‖` of the logits; 1e-5 by default, which f32 weights keep. */
  readonly tolerance?: number;
  readonly signal?: AbortSignal;
}

/** How a checkpoint compares with its golden file. */
export interface CheckResult {
  /** Last part of the folder's path. */
  readonly name: string;
  readonly modelType: string;
  /** `‖out − ref‖ / ‖ref‖` of the logits of all positions, computed in one pass. */
  readonly logitsError: number;
  /** The same, computed in chunks. */
  readonly chunks: readonly { readonly chunkTokens: number; readonly logitsError: number }[];
  /** Whether every chunk size keeps the tolerance. */
  readonly chunksOk: boolean;
  /** Leading tokens of the greedy continuation that agree, of how many. */
  readonly greedy: { readonly matched: number; readonly total: number };
  readonly tolerance: number;
  readonly ok: boolean;
}

/**
 * Holds a checkpoint to the `golden.safetensors` beside it, with f32 weights: the logits of all positions in one pass, in chunks and token
 * by token, and the greedy continuation through the decode path.
 *
 * @param folder - A folder, or any other source of the checkpoint's files.
 * @throws GoldenFileError without a golden file that fits; the errors of opening and loading a checkpoint; DeviceLostError and others of
 *   the device. Figures that miss are no errors.
 */
export async function checkFolder(
  folder: string | ByteSource,
  device: Device,
  options: CheckOptions = {},
): Promise<CheckResult> {
  const { tolerance = 1e-5, signal } = options;
  const source = typeof folder === 'string' ? folderSource(folder) : folder;
  const checkpoint = await openCheckpoint(source, { weights: 'f32', signal });
  const model = await loadModel(checkpoint, { signal });
  const golden = await readGolden(source, model.decoder.vocabSize, { signal });
  const length = golden.inputIds.length;

  const weights = new WeightStore(device);
  const runner = await ForwardRunner.compile(
    device,
    { decoder: model.decoder, weights },
    {
      chunkSizes: [length, ...checkedChunks],
      capacityTokens: Math.max(length, golden.greedyPrompt.length + golden.greedyTokens.length),
    },
  );
  try {
    await loadWeights(checkpoint, model.weights, new WeightUpload(weights), { signal });
    const errorIn = async (chunkTokens: number): Promise<number> => {
      runner.reset();
      return relativeError(await runner.append(golden.inputIds, chunkTokens), golden.logits);
    };
    const logitsError = await errorIn(length);
    const chunks: { chunkTokens: number; logitsError: number }[] = [];
    for (const chunkTokens of checkedChunks) chunks.push({ chunkTokens, logitsError: await errorIn(chunkTokens) });
    const chunksOk = chunks.every((chunk) => chunk.logitsError < tolerance);
    const greedy = { matched: await greedyAgreement(runner, golden), total: golden.greedyTokens.length };
    return {
      name: source
        .describe()
        .split(/[\\/]/)
        .findLast((part) => part !== '')!,
      modelType: model.config.modelType,
      logitsError,
      chunks,
      chunksOk,
      greedy,
      tolerance,
      ok: logitsError < tolerance && chunksOk && greedy.matched === greedy.total,
    };
  } finally {
    runner.destroy();
    weights.destroy();
  }
}

/** Continues the prompt greedily, token by token, and counts how many tokens agree before the first that does not. */
async function greedyAgreement(runner: ForwardRunner, golden: Golden): Promise<number> {
  const vocabSize = golden.logits.length / golden.inputIds.length;
  runner.reset();
  const prefilled = await runner.append(golden.greedyPrompt, 32);
  let logits = prefilled.subarray(prefilled.length - vocabSize);
  for (const [index, expected] of golden.greedyTokens.entries()) {
    if (argmax(logits) !== expected) return index;
    if (index + 1 < golden.greedyTokens.length) logits = await runner.append(Uint32Array.of(expected), 1);
  }
  return golden.greedyTokens.length;
}

/** Index of the largest number, the first of equals; -1 where any is not a number. */
function argmax(values: Float32Array): number {
  let best = 0;
  for (let index = 0; index < values.length; index++) {
    if (Number.isNaN(values[index])) return -1;
    if (values[index]! > values[best]!) best = index;
  }
  return best;
}

/** The line that `forerun check` prints for a folder. */
export function checkLine({ name, logitsError, greedy, chunksOk }: CheckResult): string {
  return `${name}  logits_rel_err=${logitsError.toExponential(2)}  greedy=${greedy.matched}/${greedy.total}  chunks_ok=${chunksOk}`;
}
