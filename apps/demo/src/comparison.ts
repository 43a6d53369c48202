/** Every drafter of a model on the same prompt, in the worker. */
import type { DrafterName, LoadedModel } from 'forerun';
import type { Compared, NotCompared } from './messages.ts';
import type { Settings } from './settings.ts';

/** Tokens of the run before the measured one, which pays for what a drafter needs once. */
const warmUpTokens = 4;

/**
 * Continues the prompt with every drafter in turn, plain decoding first, and holds each text against the plain one. A drafter that
 * fails is told with its message, and the others go on.
 *
 * @throws AbortedError; DeviceLostError; whatever plain decoding throws.
 */
export async function compareDrafters(
  model: LoadedModel,
  settings: Settings,
  hooks: {
    readonly signal: AbortSignal;
    readonly onBegin: (drafter: string) => void;
    readonly onEnd: (outcome: Compared | NotCompared) => void;
  },
): Promise<void> {
  const run = (drafter: DrafterName, maxTokens: number) =>
    model.generate(settings.prompt, {
      drafter,
      maxTokens,
      width: settings.width === 'auto' ? 'auto' : Number(settings.width),
      sampling: { temperature: settings.temperature, seed: settings.seed },
      signal: hooks.signal,
    }).result;
  let plain: string | undefined;
  for (const drafter of model.drafters) {
    hooks.onBegin(drafter);
    try {
      await run(drafter, Math.min(warmUpTokens, settings.maxTokens));
      const { tokens, statistics } = await run(drafter, settings.maxTokens);
      plain ??= tokens.join();
      hooks.onEnd({ drafter, statistics, same: tokens.join() === plain });
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (plain === undefined || code === 'aborted' || code === 'device-lost') throw error;
      hooks.onEnd({ drafter, failure: message });
    }
  }
}
