/** Runs the model beside the page, so that neither loading nor decoding makes it stutter. */
import { load, type DrafterName, type LoadedModel } from 'forerun';
import { compareDrafters } from './comparison.ts';
import type { Answer, Request } from './messages.ts';
import type { Settings } from './settings.ts';

const say = (answer: Answer): void => self.postMessage(answer);

let models = '';
let loading: Promise<LoadedModel> | undefined;
let running: AbortController | undefined;

/** Heads that were trained for the model; it offers them as drafters, and takes the first when it is not told which. */
const heads = ['stories-eagle/', 'stories-medusa/', 'stories-mtp/', 'stories-block/'];

function model(): Promise<LoadedModel> {
  loading ??= load(new URL('stories/', models), {
    draft: new URL('stories-draft/', models),
    heads: heads.map((folder) => new URL(folder, models)),
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

/** Ends what is running, for something new to begin. */
function begin(): AbortSignal {
  running?.abort();
  running = new AbortController();
  return running.signal;
}

async function tell(id: number, settings: Settings): Promise<void> {
  const signal = begin();
  const { prompt, temperature, seed, maxTokens, drafter, width } = settings;
  const generation = (await model()).generate(prompt, {
    drafter: drafter as DrafterName,
    maxTokens,
    width: width === 'auto' ? width : Number(width),
    sampling: { temperature, seed },
    rounds: true,
    signal,
  });
  for await (const piece of generation) say({ type: 'piece', id, piece });
  say({ type: 'end', id, statistics: (await generation.result).statistics });
}

async function compare(id: number, settings: Settings): Promise<void> {
  const signal = begin();
  await compareDrafters(await model(), settings, {
    signal,
    onBegin: (drafter) => say({ type: 'comparing', id, drafter }),
    onEnd: (outcome) => say({ type: 'compared', id, outcome }),
  });
  say({ type: 'comparison-end', id });
}

async function answer(request: Request): Promise<void> {
  switch (request.type) {
    case 'stop':
      running?.abort();
      break;
    case 'tell':
      await tell(request.id, request.settings).catch((error: unknown) => fail(error, request.id));
      break;
    case 'compare':
      await compare(request.id, request.settings).catch((error: unknown) => fail(error, request.id));
      break;
    case 'load':
      models = request.models;
      await model().then(
        ({ adapter, drafters, defaultDrafter }) => {
          const byName = typeof defaultDrafter === 'string' ? defaultDrafter : 'none';
          say({ type: 'ready', adapter, drafters, defaultDrafter: byName });
        },
        (error: unknown) => fail(error),
      );
      break;
  }
}

self.addEventListener('message', ({ data }: MessageEvent<Request>) => void answer(data));
