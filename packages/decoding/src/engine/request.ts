import type { Detokenizer } from '@forerun/contracts';
import { CapacityError } from '@forerun/contracts';
import { ArgumentError } from '@forerun/tensor';
import { maxDepths, maxStopTokens } from '../loop/loop-states.ts';
import type { SamplingSettings } from './sampling-settings.ts';
import { samplingSettings } from './sampling-settings.ts';

/** What is to be generated. */
export interface GenerateRequest {
  /** Token ids of the whole context; what the conversation still holds of it is not computed again. */
  readonly prompt: readonly number[];
  /** Most tokens to generate; what fits the capacity without. */
  readonly maxTokens?: number;
  readonly sampling?: Partial<SamplingSettings>;
  /** Tokens that end the text; the one that did is the last token given. */
  readonly stopTokens?: readonly number[];
  /** Strings that end the text; they and what follows are not given. Needs a detokenizer. */
  readonly stopStrings?: readonly string[];
  /** Turns tokens into text; without it steps carry tokens only. */
  readonly detokenizer?: Detokenizer;
  /** Rows of a round: a number, or `'auto'` (default) for the width policy. Without a drafter it is 1. */
  readonly width?: number | 'auto';
  /** Widths that the policy may choose from. */
  readonly widths?: readonly number[];
  /**
   * Steps carry a report of their round: the tree, the accepted path, what the target chose behind it, and on devices with
   * `timestamp-query` the milliseconds of its parts. The report is read back with the tokens, so that rounds stay one submit; without it
   * nothing more is read. Default: false.
   */
  readonly rounds?: boolean;
  readonly signal?: AbortSignal;
}

/** A request with everything filled in. */
export interface CheckedRequest extends GenerateRequest {
  readonly maxTokens: number;
  readonly settings: SamplingSettings;
  readonly stopTokens: readonly number[];
  readonly stopStrings: readonly string[];
  readonly width: number | 'auto';
}

/** What a request is held against. */
export interface RequestLimits {
  readonly vocabSize: number;
  readonly capacityTokens: number;
  readonly maxStopStringBytes: number;
}

/**
 * Checks a request and fills in what it leaves open.
 * @throws {@link ArgumentError} or {@link CapacityError}, saying what was expected, what came and what to do.
 */
export function checkRequest(request: GenerateRequest, limits: RequestLimits): CheckedRequest {
  const { prompt, stopTokens = [], stopStrings = [], width = 'auto' } = request;
  const { vocabSize, capacityTokens } = limits;
  if (prompt.length === 0) {
    throw new ArgumentError("The prompt has no tokens; begin with at least one, such as the model's begin token.");
  }
  const isToken = (token: number) => Number.isInteger(token) && token >= 0 && token < vocabSize;
  const wrong = prompt.findIndex((token) => !isToken(token));
  if (wrong >= 0) {
    throw new ArgumentError(
      `Prompt token ${wrong} is ${prompt[wrong]}; expected whole numbers from 0 to ${vocabSize - 1}. Does the tokenizer belong to the model?`,
    );
  }
  if (prompt.length >= capacityTokens) {
    throw new CapacityError(
      `The prompt has ${prompt.length} tokens, and the conversation holds ${capacityTokens} including at least one generated. Shorten the prompt or load the model with a larger capacity.`,
    );
  }
  const room = capacityTokens - prompt.length;
  const maxTokens = request.maxTokens ?? room;
  if (!Number.isInteger(maxTokens) || maxTokens < 1) {
    throw new ArgumentError(`maxTokens must be a whole number of at least 1, got ${maxTokens}.`);
  }
  if (stopTokens.length > maxStopTokens) {
    throw new ArgumentError(`At most ${maxStopTokens} stop tokens can be given, got ${stopTokens.length}.`);
  }
  const strange = stopTokens.find((token) => !isToken(token));
  if (strange !== undefined) {
    throw new ArgumentError(`Stop token ${strange} is not a token; expected whole numbers from 0 to ${vocabSize - 1}.`);
  }
  const long = stopStrings.find(
    (stop) => stop.length === 0 || new TextEncoder().encode(stop).length > limits.maxStopStringBytes,
  );
  if (long !== undefined) {
    throw new ArgumentError(`A stop string has 1 to ${limits.maxStopStringBytes} bytes, got ${JSON.stringify(long)}.`);
  }
  if (stopStrings.length > 0 && !request.detokenizer) {
    throw new ArgumentError("Stop strings need a detokenizer; pass the one of the model's tokenizer.");
  }
  const widths = width === 'auto' ? (request.widths ?? []) : [width];
  const bad = widths.find((rows) => !Number.isInteger(rows) || rows < 1 || rows > maxDepths);
  if (bad !== undefined) throw new ArgumentError(`A width is a whole number from 1 to ${maxDepths}, got ${bad}.`);
  return {
    ...request,
    maxTokens: Math.min(maxTokens, room),
    settings: samplingSettings(request.sampling),
    stopTokens: [...new Set(stopTokens)],
    stopStrings,
    width,
  };
}
