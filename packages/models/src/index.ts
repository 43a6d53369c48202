export { ModelConfigError, UnsupportedModelError } from './errors.ts';
export type { DecoderConfig } from './config/decoder-config.ts';
export type { GenerationConfig, SamplingDefaults } from './config/generation-config.ts';
export { generationConfig } from './config/generation-config.ts';
export { cacheBytes, cacheReadBytes, decodeFlops, decodeWeightBytes, weightBytes } from './cost.ts';
export type { LoadedModel, LoadModelOptions } from './load.ts';
export { loadModel, modelTypes } from './load.ts';
