import type { Tokenizer } from '@forerun/checkpoints';
import type { Conversation, GenerateRequest } from '@forerun/decoding';
import type { GenerationPiece, GenerationResult } from './generation.ts';
import type { GenerateOptions, LoadedModel } from './loaded-model.ts';
import { expectKnown } from './known-options.ts';
import { detokenizerAfter, Pieces } from './pieces.ts';

/** A request in which nothing is left open that the checkpoint or chance decides. */
export type CompleteRequest = GenerateRequest & { readonly seed: bigint | number };

/** A seed of 53 bits, so that it can be written as a number. */
function drawSeed(): number {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return (high! >>> 11) * 2 ** 32 + low!;
}

const generateOptions: Readonly<Record<keyof GenerateOptions, true>> = {
  maxTokens: true,
  sampling: true,
  drafter: true,
  verifier: true,
  stopTokens: true,
  stopStrings: true,
  width: true,
  widths: true,
  rounds: true,
  signal: true,
};

/** Fills a request in from the checkpoint's generation_config.json. */
export function generationRequest(
  model: Pick<LoadedModel, 'generation' | 'tokenizer'>,
  prompt: readonly number[],
  options: GenerateOptions,
): CompleteRequest {
  expectKnown('generate', options, generateOptions);
  const { generation, tokenizer } = model;
  const { sampling: asked = {}, maxTokens = generation.maxNewTokens, width, widths, rounds, signal } = options;
  const seed = asked.seed ?? drawSeed();
  const stopStrings = options.stopStrings ?? (tokenizer ? generation.stopStrings : []);
  return {
    ...(width === undefined ? {} : { width }),
    ...(widths ? { widths } : {}),
    ...(rounds ? { rounds } : {}),
    ...(signal ? { signal } : {}),
    prompt,
    seed,
    sampling: { ...generation.sampling, ...asked, seed },
    stopTokens: options.stopTokens ?? generation.stopTokens,
    stopStrings,
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(tokenizer && prompt.length > 0 ? { detokenizer: detokenizerAfter(tokenizer, prompt) } : {}),
  };
}

/** Where a text comes from. */
export interface Production {
  /** Called when the first piece is asked for. */
  begin(): { readonly conversation: Conversation; readonly request: CompleteRequest };
  /** Called when the text is over, however it ended. */
  end(conversation: Conversation, outcome: { readonly text: string; readonly failed: boolean }): void;
  readonly tokenizer: Tokenizer | undefined;
}

/** The pieces of one text, and what there is of it when it is left early. */
export function produce(production: Production): {
  readonly source: AsyncGenerator<GenerationPiece, GenerationResult, void>;
  readonly soFar: () => GenerationResult;
} {
  let text = '';
  let tokens: readonly number[] = [];
  let failed = false;
  let seed: bigint | number = 0;
  let used: Conversation | undefined;
  const soFar = (): GenerationResult => ({
    text,
    tokens,
    seed,
    drafter: used?.drafterName ?? 'none',
    statistics: used?.statistics ?? nothingDone,
  });

  async function* source(): AsyncGenerator<GenerationPiece, GenerationResult, void> {
    const { conversation, request } = production.begin();
    used = conversation;
    seed = request.seed;
    try {
      const pieces = new Pieces(production.tokenizer, request.prompt);
      for await (const step of conversation.generate(request)) {
        const piece = pieces.of(step);
        text += piece.text;
        yield piece;
      }
    } catch (cause) {
      failed = true;
      throw cause;
    } finally {
      // A stop string takes back tokens of earlier pieces, so the conversation has the last word.
      tokens = conversation.tokens.slice(request.prompt.length);
      production.end(conversation, { text, failed });
    }
    return soFar();
  }
  return { source: source(), soFar };
}

/** Statistics of a text that was left before it began. */
const nothingDone: GenerationResult['statistics'] = {
  promptTokens: 0,
  reusedTokens: 0,
  generatedTokens: 0,
  rounds: 0,
  draftedTokens: 0,
  acceptedTokens: 0,
  acceptanceLength: 0,
  acceptanceByDepth: [],
  roundsByWidth: {},
  prefillMs: 0,
  decodeMs: 0,
  readbackMs: 0,
  tokensPerSecond: 0,
  stopReason: 'abandoned',
};
