import type { Checkpoint } from '@forerun/checkpoints';
import { headFields } from '../config/head-fields.ts';
import type { FeatureHead } from '../feature-head.ts';
import { expectFit, type HeadTarget } from '../target.ts';
import { deepseekHead } from './deepseek.ts';
import { mimoHead } from './mimo.ts';
import type { PredictionOptions } from './prediction-layer.ts';
import { qwenHead } from './qwen.ts';

const families = {
  deepseek_v3: deepseekHead,
  glm4_moe: deepseekHead,
  mimo: mimoHead,
  qwen3_next: qwenHead,
  qwen3_5: qwenHead,
  qwen3_5_text: qwenHead,
  qwen3_5_moe: qwenHead,
  qwen3_5_moe_text: qwenHead,
} as const;

/**
 * The multi-token prediction module that stands in a model's own checkpoint, by the `model_type` of its config.json: DeepSeek-V3, GLM-4.5,
 * Qwen3-Next and Qwen3.5, MiMo.
 *
 * @throws MismatchedPartsError for another hidden size or vocabulary than the target's; HeadConfigError for a model type without such
 *   a module, or fields that are missing; RopeConfigError; WeightNameError for names that are missing or unknown.
 */
export async function mtpHead(
  checkpoint: Checkpoint,
  target: HeadTarget,
  options: PredictionOptions = {},
): Promise<FeatureHead> {
  const outer = headFields(await checkpoint.config());
  const family = families[outer.word('model_type', Object.keys(families) as (keyof typeof families)[])];
  // Multimodal checkpoints keep the settings of the language model apart.
  const fields = outer.inside('text_config') ?? outer;
  const what = `MTP module of ${checkpoint.source.describe()}`;
  expectFit(what, 'hidden size', [fields.integer('hidden_size', { min: 1 }), target.hiddenSize]);
  expectFit(what, 'a vocabulary of', [fields.integer('vocab_size', { min: 1 }), target.vocabSize]);
  return family(checkpoint, target, { fields, options });
}
