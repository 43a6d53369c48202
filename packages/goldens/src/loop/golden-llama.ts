/** What the loop's tests share: the golden llama, loaded once a file, and the ways to run it. */
import { fileURLToPath } from 'node:url';
import type { Detokenizer } from '@forerun/contracts';
import { replay, type ReplayState } from '@forerun/drafters';
import { testDevice } from '@forerun/tensor/harness';
import { type Conversation, type Drafter, type GenerateRequest, load, type LoadedModel, type Verifier } from 'forerun';

/** Where a golden checkpoint is. */
export function goldenFolder(name: string): string {
  return fileURLToPath(new URL(`../../fixtures/models/${name}`, import.meta.url));
}

/** The golden llama on the test device, for conversations of 128 tokens. */
export async function goldenLlama(): Promise<LoadedModel> {
  return load(goldenFolder('llama'), { device: await testDevice(), capacityTokens: 128 });
}

/** A prompt of `length` tokens, always the same. */
export function promptOf(length: number): number[] {
  return Array.from({ length }, (_, index) => (index * 37 + 5) % 256);
}

/** Writes token 20 as `<20>`, so that any text can be told apart. */
export function numberDetokenizer(): Detokenizer {
  return { push: (token) => `<${token}>`, flush: () => '' };
}

/** Runs a request to its end on a conversation. */
export async function run(
  conversation: Conversation,
  request: GenerateRequest,
): Promise<{ tokens: number[]; text: string; steps: number; mostAccepted: number }> {
  const tokens: number[] = [];
  let text = '';
  let steps = 0;
  let mostAccepted = 0;
  for await (const step of conversation.generate(request)) {
    tokens.push(...step.tokens);
    text += step.text;
    mostAccepted = Math.max(mostAccepted, step.accepted);
    steps++;
  }
  return { tokens, text, steps, mostAccepted };
}

/** What plain decoding says, on a conversation of its own. */
export async function plainTokens(model: LoadedModel, request: GenerateRequest): Promise<number[]> {
  using conversation = model.open({ drafter: 'none' });
  return (await run(conversation, request)).tokens;
}

/** A conversation whose drafter guesses `recording` (prompt and continuation), each token wrong with probability `corruption`. */
export class Replays {
  readonly #model: LoadedModel;
  readonly #drafters = new Map<number, Drafter>();

  constructor(model: LoadedModel) {
    this.#model = model;
  }

  open(recording: readonly number[], corruption = 0, verifier: Verifier = this.#model.engine.verifier): Conversation {
    const drafter = this.#drafters.get(corruption) ?? replay({ corruption, seed: 3 });
    this.#drafters.set(corruption, drafter);
    const conversation = this.#model.open({ drafter, verifier });
    const state = this.#model.engine.speculation(drafter, verifier).drafterState as ReplayState;
    conversation.states.write(state.recording, Uint32Array.from(recording));
    return conversation;
  }
}
