/** Heads that guess for a model: found out by their files, loaded in their published layouts, each behind its drafter. */
import type { ByteSource, Checkpoint, OpenOptions, ReadOptions } from '@forerun/checkpoints';
import { openCheckpoint } from '@forerun/checkpoints';
import type { Decoder, Drafter } from '@forerun/contracts';
import { block, eagle, hydra, medusa, mtp } from '@forerun/drafters';
import { blockHead, eagleHead, HeadConfigError, hydraHeads, medusaHeads, mtpHead } from '@forerun/mtp';
import type { Weight } from '@forerun/tensor';
import type { HeadName } from '../model/drafter-choice.ts';

/** Heads whose weights are declared, and the drafter that they make. */
export interface OpenedHeads {
  readonly name: HeadName;
  readonly checkpoint: Checkpoint;
  readonly weights: readonly Weight[];
  readonly drafter: Drafter;
  /** Longest conversation that they were made for. */
  readonly maxPositions: number;
}

/** What heads are made for. */
export interface HeadsTarget {
  readonly decoder: Decoder;
  /** The model's own checkpoint. */
  readonly checkpoint: Checkpoint;
}

/** Names that published heads have where they are not `model.safetensors`. */
const headFiles = [
  'medusa_lm_head.safetensors',
  'medusa_lm_head.pt',
  'hydra_lm_head.safetensors',
  'hydra_lm_head.pt',
] as const;

const medusaNames =
  /^(?:0\.0\.linear|medusa_head\.0\.0\.linear|blocks\.0\.layers\.0|medusa_heads\.blocks\.0\.layers\.0)\.weight$/;
const mtpNames = /^(?:mtp\.fc|model\.mtp_layers\.0\.input_proj|model\.layers\.\d+\.eh_proj)\.weight$/;

/**
 * Opens heads from a folder of their own.
 *
 * @throws HeadConfigError for files that are no heads; MismatchedPartsError for heads of another model; what opening a checkpoint throws.
 */
export async function openHeads(source: ByteSource, target: HeadsTarget, options: OpenOptions): Promise<OpenedHeads> {
  const checkpoint = await openCheckpoint(source, { ...options, ...(await fileOf(source, options)) });
  const name = await kindOf(checkpoint);
  if (name) return make(name, checkpoint, target);
  throw new HeadConfigError(
    `${source.describe()} holds no heads that are known: expected Medusa, Hydra, EAGLE, MTP or DFlash by the names of their tensors. A draft model is loaded with the option "draft".`,
  );
}

/** Heads in the model's own checkpoint: an MTP module, or Medusa heads; undefined without. */
export async function ownHeads(target: HeadsTarget): Promise<OpenedHeads | undefined> {
  const names = [...target.checkpoint.tensors.keys()];
  const name = (
    [
      ['mtp', mtpNames],
      ['medusa', medusaNames],
    ] as const
  ).find(([, pattern]) => names.some((one) => pattern.test(one)))?.[0];
  try {
    return name && (await make(name, target.checkpoint, target));
  } catch (cause) {
    // A module that is not known keeps nobody from running the model without it.
    if (cause instanceof HeadConfigError) return undefined;
    throw cause;
  }
}

async function fileOf(source: ByteSource, options: ReadOptions): Promise<{ readonly file?: string }> {
  if (await source.exists('model.safetensors', { signal: options.signal })) return {};
  for (const file of headFiles) if (await source.exists(file, { signal: options.signal })) return { file };
  return {};
}

async function kindOf(checkpoint: Checkpoint): Promise<HeadName | undefined> {
  const names = [...checkpoint.tensors.keys()];
  if (names.some((name) => medusaNames.test(name))) return 'medusa';
  if (names.some((name) => name.startsWith('hydra_mlp.'))) return 'hydra';
  if (names.some((name) => mtpNames.test(name))) return 'mtp';
  if (!names.includes('fc.weight')) return undefined;
  const { dflash_config: nested, block_size: size } = await checkpoint.config();
  return nested !== undefined || size !== undefined ? 'block' : 'eagle';
}

async function make(name: HeadName, checkpoint: Checkpoint, target: HeadsTarget): Promise<OpenedHeads> {
  const { decoder } = target;
  switch (name) {
    case 'medusa': {
      const heads = medusaHeads(checkpoint, decoder);
      return { name, checkpoint, weights: heads.weights, drafter: medusa(heads), maxPositions: Infinity };
    }
    case 'hydra': {
      const heads = hydraHeads(checkpoint, decoder, { targetConfig: await target.checkpoint.config() });
      const maxPositions = heads.prefix?.maxPositions ?? Infinity;
      return { name, checkpoint, weights: heads.weights, drafter: hydra(heads), maxPositions };
    }
    case 'block': {
      const head = await blockHead(checkpoint, decoder);
      return { name, checkpoint, weights: head.weights, drafter: block(head), maxPositions: head.maxPositions };
    }
    case 'eagle': {
      const head = await eagleHead(checkpoint, decoder);
      return { name, checkpoint, weights: head.weights, drafter: eagle(head), maxPositions: head.maxPositions };
    }
    case 'mtp': {
      const head = await mtpHead(checkpoint, decoder);
      return { name, checkpoint, weights: head.weights, drafter: mtp(head), maxPositions: head.maxPositions };
    }
  }
}
