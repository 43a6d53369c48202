/** Runs the model beside the page, so that neither loading nor decoding makes it stutter. */
import { load, type LoadedModel } from 'forerun';
import type { Answer, Request } from './messages.ts';
import type { Settings } from './settings.ts';

const say = (answer: Answer): void => self.postMessage(answer);

let models = '';
let loading: Promise<LoadedModel> | undefined;
let telling: AbortController | undefined;

function model(): Promise<LoadedModel> {
  loading ??= load(new URL('stories/', models), {
    draft: new URL('stories-draft/', models),
    onProgress: (progress) => say({ type: 'progress', progress }),
  });
  return loading;
}

/** A device that was lost takes the model with it; the next telling loads it again. */
function fail(error: unknown, id?: number): void {
  const { code = 'unknown', message } = error as { code?: string; message: string };
  if (code === 'aborted' && id !== undefined) return say({ type: 'stopped', id });
  if (code === 'device-lost' || code === 'out-of-memory' || code === 'gpu-validation' || id === undefined)
    loading = undefined;
  return say({ type: 'failure', id, code, message });
}

async function tell(id: number, settings: Settings): Promise<void> {
  telling?.abort();
  const controller = new AbortController();
  telling = controller;
  const { prompt, temperature, seed, maxTokens, drafter, width } = settings;
  const generation = (await model()).generate(prompt, {
    drafter,
    maxTokens,
    width: width === 'auto' ? width : Number(width),
    sampling: { temperature, seed },
    signal: controller.signal,
  });
  for await (const piece of generation) say({ type: 'piece', id, piece });
  say({ type: 'end', id, statistics: (await generation.result).statistics });
}

async function answer(request: Request): Promise<void> {
  if (request.type === 'stop') {
    telling?.abort();
  } else if (request.type === 'tell') {
    await tell(request.id, request.settings).catch((error: unknown) => fail(error, request.id));
  } else {
    models = request.models;
    await model().then(
      ({ adapter, memory }) => say({ type: 'ready', adapter, totalBytes: memory.totalBytes }),
      (error: unknown) => fail(error),
    );
  }
}

self.addEventListener('message', ({ data }: MessageEvent<Request>) => void answer(data));
