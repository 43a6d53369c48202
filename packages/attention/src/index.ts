export type { Attention, AttentionHeads, AttentionLayer, AttentionState } from './attention.ts';
export { softmaxAttention } from './softmax/softmax.ts';
