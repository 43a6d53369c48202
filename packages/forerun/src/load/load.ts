/** From a source to a model that is ready: opens checkpoints, asks for a device, puts the parts together and loads the weights. */
import type { Checkpoint, LoadProgress, WeightPolicy } from '@forerun/checkpoints';
import { loadTokenizer, loadWeights, openCheckpoint } from '@forerun/checkpoints';
import type { Drafter } from '@forerun/contracts';
import { MismatchedPartsError } from '@forerun/contracts';
import { Engine } from '@forerun/decoding';
import { draftModel } from '@forerun/drafters';
import type { LoadedModel as CheckpointModel } from '@forerun/models';
import { loadModel } from '@forerun/models';
import type { Arithmetic, DeviceOptions, Weight } from '@forerun/tensor';
import { AbortedError, ArgumentError, Device, requestDevice, WeightStore, WeightUpload } from '@forerun/tensor';
import { philoxNoise, sampleAndMatch } from '@forerun/verifiers';
import { expectKnown } from '../model/known-options.ts';
import { LoadedModel } from '../model/loaded-model.ts';
import { type OpenedHeads, openHeads, ownHeads } from './heads.ts';
import type { ModelSource, SourceOptions } from './source.ts';
import { openSource } from './source.ts';

/** How far a load has come, and of which checkpoint. */
export interface ModelLoadProgress extends LoadProgress {
  readonly part: 'model' | 'draft' | 'heads';
}

/** How a model is loaded. */
export interface LoadOptions extends SourceOptions {
  /** A device, or what to ask for; it stays the caller's when it is given. */
  readonly device?: Device | DeviceOptions | undefined;
  /** Format of the matrices on the device; `as-is` (default) keeps what the checkpoint has. */
  readonly weights?: WeightPolicy | undefined;
  /** Most tokens of a conversation, prompt included. Default: what model and draft were made for, at most 4,096. */
  readonly capacityTokens?: number | undefined;
  /** Element type of cached keys and values; f32 by default. */
  readonly cache?: 'f32' | 'f16' | undefined;
  /**
   * Precision of products in the matrices of decoding, of the draft model's too; f32 by default. `'f16'` is faster where hardware packs
   * halves and changes logits by about 5e-4; it applies to weights in f16, q8 and q4, and needs the device feature `shader-f16`.
   * `'i8'` also rounds activations to 8 bits in blocks of 32 and changes logits by about 5e-3; it applies to weights in q8 and q4, and
   * needs the language feature `packed_4x8_integer_dot_product`.
   */
  readonly arithmetic?: Arithmetic | undefined;
  /** A smaller model of the same vocabulary that drafts. */
  readonly draft?: ModelSource | undefined;
  /**
   * Heads that draft, made for this model: Medusa, Hydra, EAGLE, an MTP module or a block drafter, told apart by their files. The first are
   * used when no drafter is named. What the checkpoint has of its own needs no mention.
   */
  readonly heads?: readonly ModelSource[] | undefined;
  /** Refuse to load when weights, one conversation and scratch need more device bytes than this. */
  readonly memoryLimitBytes?: number | undefined;
  /** Called whenever a slice of weights has reached the device. */
  readonly onProgress?: ((progress: ModelLoadProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const loadOptions: Readonly<Record<keyof LoadOptions, true>> = {
  device: true,
  weights: true,
  capacityTokens: true,
  cache: true,
  arithmetic: true,
  draft: true,
  heads: true,
  memoryLimitBytes: true,
  onProgress: true,
  signal: true,
  revision: true,
  token: true,
  keepDownloads: true,
};

const defaultCapacityTokens = 4096;

/**
 * Loads a model: configuration, tokenizer, programs and weights, from wherever `source` is.
 *
 * Before weights are read, the device memory that they, one conversation and scratch need is reckoned and held against the device's
 * limits and `memoryLimitBytes`.
 *
 * @throws the typed errors of each step: {@link ArgumentError}, FileMissingError, NetworkError, AccessError, SafetensorsError,
 *   GgufError, UnsupportedModelError, ModelConfigError, TokenizerError, {@link AdapterError}, {@link DeviceLimitError},
 *   MissingFeatureError when f16 or i8 arithmetic is asked for on a device without what it needs, {@link MismatchedPartsError} when the draft
 *   has another vocabulary or heads belong to another model, HeadConfigError for heads that are none, {@link AbortedError}.
 */
export async function load(source: ModelSource, options: LoadOptions = {}): Promise<LoadedModel> {
  expectKnown('load', options, loadOptions);
  const { signal } = options;
  const throwIfAborted = (): void => {
    if (signal?.aborted) throw new AbortedError('Loading was aborted; nothing is kept.', { cause: signal.reason });
  };
  throwIfAborted();
  const target = await openPart(source, options);
  const draft = options.draft === undefined ? undefined : await openPart(options.draft, options);
  if (draft) checkVocabularies(target, draft);
  const { heads, own } = await openAllHeads(target, options);
  const tokenizer = (await target.checkpoint.source.exists('tokenizer.json', { signal }))
    ? await loadTokenizer(target.checkpoint.source, { signal })
    : undefined;
  throwIfAborted();

  const given = options.device instanceof Device ? options.device : undefined;
  const device = given ?? (await requestDevice(options.device as DeviceOptions | undefined));
  const store = new WeightStore(device);
  const { cache, arithmetic } = options;
  const drafter = draft && draftModel({ decoder: draft.model.decoder, ...(cache ? { cache } : {}) });
  let engine: Engine | undefined;
  try {
    engine = await Engine.create({
      device,
      decoder: target.model.decoder,
      verifier: sampleAndMatch(),
      noise: philoxNoise,
      capacityTokens: options.capacityTokens ?? defaultCapacity([target, ...(draft ? [draft] : []), ...heads, ...own]),
      ...(cache ? { cache } : {}),
      ...(arithmetic ? { arithmetic } : {}),
      ...(options.memoryLimitBytes === undefined ? {} : { memoryLimitBytes: options.memoryLimitBytes }),
      weights: {
        store,
        fill: (weights) =>
          fill(weights, store, {
            parts: { model: [target], draft: draft ? [draft] : [], heads: [...heads, ...own] },
            options,
          }),
      },
    });
    const used = [...heads.map((one) => one.drafter), ...(drafter ? [drafter] : [])];
    const drafters = used.length > 0 ? used : own.map((one) => one.drafter);
    for (const each of drafters) await prepareDrafter(engine, each);
    throwIfAborted();
    await device.idle();
  } catch (cause) {
    if (engine) engine.destroy();
    else store.destroy();
    if (!given) device.destroy();
    throw cause;
  }
  return new LoadedModel({
    engine,
    config: target.model.config,
    generation: target.model.generation,
    tokenizer,
    draftModel: drafter,
    heads: new Map(heads.map((one) => [one.name, one.drafter])),
    ownHeads: new Map(own.map((one) => [one.name, one.drafter])),
    name: target.checkpoint.source.describe(),
    ownsDevice: given === undefined,
  });
}

/** A checkpoint, and the weights that are read from it. */
interface Part {
  readonly checkpoint: Checkpoint;
  readonly weights: readonly Weight[];
  readonly maxPositions: number;
}

interface ModelPart extends Part {
  readonly model: CheckpointModel;
}

async function openPart(source: ModelSource, options: LoadOptions): Promise<ModelPart> {
  const { weights = 'as-is', signal } = options;
  const checkpoint = await openCheckpoint(await openSource(source, options), { weights, signal });
  const model = await loadModel(checkpoint, { signal });
  return { checkpoint, model, weights: model.weights, maxPositions: model.decoder.maxPositions };
}

/** The heads that were asked for, and those in the model's own checkpoint unless others of the kind were. */
async function openAllHeads(
  { checkpoint, model }: ModelPart,
  options: LoadOptions,
): Promise<{ readonly heads: readonly OpenedHeads[]; readonly own: readonly OpenedHeads[] }> {
  const { weights = 'as-is', signal } = options;
  const target = { decoder: model.decoder, checkpoint };
  const heads: OpenedHeads[] = [];
  for (const source of options.heads ?? []) {
    const opened = await openHeads(await openSource(source, options), target, { weights, signal });
    if (heads.some(({ name }) => name === opened.name)) {
      throw new ArgumentError(
        `load: expected heads of different kinds, got two of the kind "${opened.name}". Give one.`,
      );
    }
    heads.push(opened);
  }
  const own = await ownHeads(target);
  return { heads, own: own && !heads.some(({ name }) => name === own.name) ? [own] : [] };
}

function defaultCapacity(parts: readonly Part[]): number {
  return Math.min(defaultCapacityTokens, ...parts.map(({ maxPositions }) => maxPositions));
}

function checkVocabularies(target: ModelPart, draft: ModelPart): void {
  const [wanted, came] = [target.model.decoder.vocabSize, draft.model.decoder.vocabSize];
  if (wanted === came) return;
  throw new MismatchedPartsError(
    `The draft model ${draft.checkpoint.source.describe()} has ${came} tokens, and the model has ${wanted}. Drafting needs the same vocabulary.`,
  );
}

/** Each weight comes from the checkpoint whose model or heads declared it. */
async function fill(
  weights: readonly Weight[],
  store: WeightStore,
  {
    parts,
    options,
  }: {
    readonly parts: Readonly<Record<ModelLoadProgress['part'], readonly Part[]>>;
    readonly options: LoadOptions;
  },
): Promise<void> {
  const { onProgress, signal } = options;
  for (const [part, holders] of Object.entries(parts)) {
    for (const { checkpoint, weights: declared } of holders) {
      const own = new Set(declared);
      const wanted = weights.filter((weight) => own.has(weight));
      if (wanted.length === 0) continue;
      const upload = new WeightUpload(store);
      try {
        await loadWeights(checkpoint, wanted, upload, {
          signal,
          onProgress: (progress) => onProgress?.({ part: part as ModelLoadProgress['part'], ...progress }),
        });
      } catch (cause) {
        // Only an upload that is finished gives its staging memory back; that pieces are missing is known.
        await upload.finish().catch(() => undefined);
        throw cause;
      }
    }
  }
}

/** Compiles the smallest round that drafts, so that the draft model's memory is reckoned and all its weights are loaded now. */
async function prepareDrafter(engine: Engine, drafter: Drafter): Promise<void> {
  await engine.speculation(drafter).round(2);
}
