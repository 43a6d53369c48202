export type { LoadOptions, ModelLoadProgress } from './load/load.ts';
export { load } from './load/load.ts';
export type { ModelSource, ShippedCheckpoint, SourceOptions } from './load/source.ts';
export { openSource } from './load/source.ts';
export type { ChatOptions } from './model/chat.ts';
export { Chat } from './model/chat.ts';
export type { DrafterChoice, DrafterName } from './model/drafter-choice.ts';
export { drafterNames } from './model/drafter-choice.ts';
export type { GenerationPiece, GenerationResult, PieceNode, PieceRound, PieceToken } from './model/generation.ts';
export { Generation } from './model/generation.ts';
export type { GenerateOptions, LoadedModelParts, Prompt } from './model/loaded-model.ts';
export { LoadedModel } from './model/loaded-model.ts';
export type { ChatMessage, LoadProgress, RenderOptions, Tokenizer, WeightPolicy } from '@forerun/checkpoints';
export { CapacityError, ConversationStateError, MismatchedPartsError, NumericError } from '@forerun/contracts';
export type { Drafter, Verifier } from '@forerun/contracts';
export type {
  Conversation,
  Engine,
  GenerateRequest,
  GenerationStatistics,
  MemoryEstimate,
  PhaseTimes,
  RoundReport,
  SamplingSettings,
  StopReason,
  TreeNode,
} from '@forerun/decoding';
export type { AdapterDescription, DeviceOptions } from '@forerun/tensor';
export {
  AbortedError,
  AdapterError,
  ArgumentError,
  Device,
  DeviceLimitError,
  DeviceLostError,
  ForerunError,
  GpuValidationError,
  OutOfMemoryError,
  requestDevice,
} from '@forerun/tensor';
