/** What every engine is asked to do, so that figures stand beside each other. */

/** Figures of one engine on one model. */
export interface PeerFigures {
  /** What computed, with its version. */
  readonly engine: string;
  readonly version: string;
  readonly device: string;
  /** Greedy decoding behind 16 tokens, choice of the token included: median over runs, in ms a token. */
  readonly greedy_ms: number;
  /** Tokens of a run, and runs. */
  readonly tokens: number;
  readonly runs: number;
  /** Prefill of 512 tokens into an empty cache, in ms; undefined where the model is too short. */
  readonly prefill_512_ms: number | undefined;
  /** M tokens at once over the cache, in ms by M. */
  readonly passes: Readonly<Record<string, number>>;
  /** Whether `passes` have the logits of every row, or leave the output head out. */
  readonly passes_with_logits: boolean;
  readonly load_ms: number;
}

/** How long everything takes. */
export interface PeerProtocol {
  readonly tokens: number;
  readonly runs: number;
  readonly widths: readonly number[];
}

/** Tokens before the first that is generated. */
export const promptTokens = 16;

/** The tokens that every engine begins with. */
export function peerPrompt(count: number): number[] {
  return Array.from({ length: count }, (_, at) => (at * 37) % 250);
}
