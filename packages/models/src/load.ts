import { type Attention, softmaxAttention } from '@forerun/attention';
import type { Checkpoint, ConfigJson, Weights } from '@forerun/checkpoints';
import type { Decoder } from '@forerun/contracts';
import type { Weight } from '@forerun/tensor';
import type { DecoderConfig } from './config/decoder-config.ts';
import { type GenerationConfig, generationConfig } from './config/generation-config.ts';
import { UnsupportedModelError } from './errors.ts';

/** A checkpoint as a model: what it computes, from which weights, and how it wants to be sampled. No weight has been read yet. */
export interface LoadedModel {
  readonly config: DecoderConfig;
  readonly decoder: Decoder;
  /** Every weight that the decoder reads, for `loadWeights`. */
  readonly weights: readonly Weight[];
  readonly generation: GenerationConfig;
}

/** How a model is put together. */
export interface LoadModelOptions {
  /** Which attention its layers use; exact softmax attention by default. */
  readonly attention?: Attention;
  readonly signal?: AbortSignal | undefined;
}

/** Puts a decoder together from a configuration and weights. */
type Architecture = (json: ConfigJson, w: Weights, attention: Attention) => { config: DecoderConfig; decoder: Decoder };

function architecture<Config extends DecoderConfig>(
  readConfig: (json: ConfigJson) => Config,
  build: (config: Config, w: Weights, attention: Attention) => Decoder,
): Architecture {
  return (json, w, attention) => {
    const config = readConfig(json);
    return { config, decoder: build(config, w, attention) };
  };
}

/** By `model_type`. An architecture that no checkpoint asks for is never fetched. */
const architectures: Readonly<Record<string, () => Promise<Architecture>>> = {
  llama: () => import('./llama.ts').then(({ llamaConfig, llama }) => architecture(llamaConfig, llama)),
  deepseek_v3: () =>
    import('./deepseek-v3.ts').then(({ deepseekV3Config, deepseekV3 }) => architecture(deepseekV3Config, deepseekV3)),
  glm4_moe: () => import('./glm4-moe.ts').then(({ glm4MoeConfig, glm4Moe }) => architecture(glm4MoeConfig, glm4Moe)),
  lfm2: () => import('./lfm2.ts').then(({ lfm2Config, lfm2 }) => architecture(lfm2Config, lfm2)),
  mimo: () => import('./qwen2.ts').then(({ qwen2Config, qwen2 }) => architecture(qwen2Config, qwen2)),
  mistral: () => import('./mistral.ts').then(({ mistralConfig, mistral }) => architecture(mistralConfig, mistral)),
  olmo2: () => import('./olmo2.ts').then(({ olmo2Config, olmo2 }) => architecture(olmo2Config, olmo2)),
  qwen2: () => import('./qwen2.ts').then(({ qwen2Config, qwen2 }) => architecture(qwen2Config, qwen2)),
  qwen3: () => import('./qwen3.ts').then(({ qwen3Config, qwen3 }) => architecture(qwen3Config, qwen3)),
};

/** Every `model_type` that {@link loadModel} knows. */
export const modelTypes: readonly string[] = Object.keys(architectures);

/** Tables that older checkpoints carry and that follow from their configuration. */
const derivedNames = [/\.rotary_emb\.inv_freq$/];

/**
 * Heads that predict further tokens, which stand in a model's own files and are read by whoever uses them: `mtp.*` (Qwen), `mtp_layers`
 * (MiMo), `medusa_head` (Medusa-2), layers behind the last (DeepSeek, GLM).
 */
function headNames(json: ConfigJson, { numHiddenLayers }: DecoderConfig): readonly RegExp[] {
  const modules = json['num_nextn_predict_layers'];
  const behind = Array.from(
    { length: typeof modules === 'number' ? Math.min(modules, 64) : 0 },
    (_, i) => numHiddenLayers + i,
  );
  return [
    /^mtp\./,
    /^model\.mtp_layers\./,
    /^medusa_head\./,
    ...behind.map((layer) => new RegExp(`^model\\.layers\\.${layer}\\.`)),
  ];
}

/**
 * Reads a checkpoint's configuration and declares its weights, by the `model_type` of config.json. The checkpoint's own policy gives the
 * format of the weights; their bytes are loaded later, when programs have been compiled.
 *
 * @throws UnsupportedModelError for a model type, or a feature of one, that is not implemented; ModelConfigError or RopeConfigError for
 *   a configuration that is incomplete or malformed; WeightNameError for weights that are missing or that nothing reads; ShapeError or
 *   DTypeError for weights that do not fit; AbortedError; the errors of the checkpoint's source.
 */
export async function loadModel(checkpoint: Checkpoint, options: LoadModelOptions = {}): Promise<LoadedModel> {
  const { attention = softmaxAttention, signal } = options;
  const json = await checkpoint.config({ signal });
  const modelType = json['model_type'];
  const load =
    typeof modelType === 'string' && Object.hasOwn(architectures, modelType) ? architectures[modelType] : undefined;
  if (!load) {
    throw new UnsupportedModelError(
      `${checkpoint.source.describe()}/config.json: model_type is ${JSON.stringify(modelType) ?? 'missing'}; supported are ${modelTypes.join(', ')}. Choose a checkpoint of one of these.`,
    );
  }
  const w = checkpoint.weights();
  const { config, decoder } = (await load())(json, w, attention);
  const generation = generationConfig(await checkpoint.generationConfig({ signal }), json, config.vocabSize);
  return { config, decoder, weights: w.finish({ ignore: [...derivedNames, ...headNames(json, config)] }), generation };
}
