export type { AttentionConversationOptions, AttentionPass } from './attention-conversation.ts';
export { AttentionConversation } from './attention-conversation.ts';
export type { AttentionPair, HeldAttention } from './hold-attention.ts';
export { holdAttention } from './hold-attention.ts';
