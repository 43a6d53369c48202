export type { Decoder, DecoderOutputs, DecoderState, DecoderStateOptions, Past, Rewindable, Rows } from './decoder.ts';
export { markSlots, reachableByAll } from './decoder.ts';
export { CapacityError, ConversationStateError, MismatchedPartsError, NumericError } from './errors.ts';
export { loopBinding, loopWord } from './loop-wgsl.ts';
export { noState } from './no-state.ts';
export type {
  Detokenizer,
  Drafter,
  DrafterState,
  Noise,
  Purpose,
  Round,
  Sampling,
  TargetOutputs,
  Verifier,
} from './round.ts';
export { loopStateWords, loopWords } from './round.ts';
export type { Accepted, TokenTree } from './tree.ts';
