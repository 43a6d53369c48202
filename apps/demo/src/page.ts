/** The page: a form, a story, and a worker that tells it. */
import type { AdapterDescription, ModelLoadProgress } from 'forerun';
import type { Answer, Request } from './messages.ts';
import { readSettings, type Settings, writeSettings } from './settings.ts';
import { StoryView } from './story.ts';

function element<Kind extends HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

const fields = {
  prompt: element<HTMLTextAreaElement>('prompt'),
  temperature: element<HTMLInputElement>('temperature'),
  seed: element<HTMLInputElement>('seed'),
  maxTokens: element<HTMLInputElement>('maxTokens'),
  drafter: element<HTMLSelectElement>('drafter'),
  width: element<HTMLSelectElement>('width'),
  showRejected: element<HTMLInputElement>('showRejected'),
};
const form = element<HTMLFormElement>('form');
const tellButton = element<HTMLButtonElement>('tell');
const stopButton = element<HTMLButtonElement>('stop');
const status = element('status');
const progressBar = element<HTMLProgressElement>('progress');
const story = new StoryView(element('story'), element<HTMLTableElement>('statistics'));

/** The telling that is shown; answers to earlier ones are late and do not count. */
let telling = 0;
let adapterName = '';

function showSettings(settings: Settings): void {
  fields.prompt.value = settings.prompt;
  fields.temperature.value = String(settings.temperature);
  fields.seed.value = String(settings.seed);
  fields.maxTokens.value = String(settings.maxTokens);
  fields.drafter.value = settings.drafter;
  fields.width.value = settings.width;
  fields.showRejected.checked = settings.showRejected;
  story.showRejected(settings.showRejected);
}

function settingsNow(): Settings {
  return {
    prompt: fields.prompt.value,
    temperature: fields.temperature.valueAsNumber,
    seed: fields.seed.valueAsNumber,
    maxTokens: fields.maxTokens.valueAsNumber,
    drafter: fields.drafter.value as Settings['drafter'],
    width: fields.width.value as Settings['width'],
    showRejected: fields.showRejected.checked,
  };
}

function say(text: string, failed = false): void {
  status.textContent = text;
  status.classList.toggle('failed', failed);
}

function setTelling(on: boolean): void {
  tellButton.disabled = on;
  stopButton.disabled = !on;
}

function showProgress({ part, loadedBytes, totalBytes }: ModelLoadProgress): void {
  progressBar.hidden = false;
  progressBar.value = totalBytes === 0 ? 1 : loadedBytes / totalBytes;
  say(part === 'draft' ? 'Loading the draft model …' : 'Loading the model …');
}

function describe({ kind, description, device, architecture, vendor }: AdapterDescription): string {
  const name = description || device || architecture || vendor || 'an unnamed adapter';
  return kind === 'software' ? `${name}, a software adapter: no GPU is used` : name;
}

function hear(answer: Answer): void {
  if ('id' in answer && answer.id !== undefined && answer.id !== telling) return;
  switch (answer.type) {
    case 'progress':
      showProgress(answer.progress);
      break;
    case 'ready':
      adapterName = describe(answer.adapter);
      progressBar.hidden = true;
      say(`Ready on ${adapterName}.`);
      setTelling(false);
      break;
    case 'piece':
      progressBar.hidden = true;
      story.append(answer.piece);
      break;
    case 'end':
      story.end(answer.statistics);
      say(`Told on ${adapterName}.`);
      setTelling(false);
      break;
    case 'stopped':
      say('Stopped.');
      setTelling(false);
      break;
    case 'failure':
      progressBar.hidden = true;
      say(answer.message, true);
      setTelling(false);
      break;
  }
}

function start(): void {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  const ask = (request: Request): void => worker.postMessage(request);
  worker.addEventListener('message', ({ data }: MessageEvent<Answer>) => hear(data));
  worker.addEventListener('error', ({ message }) =>
    say(`The worker failed: ${message || 'it could not be started'}.`, true),
  );
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    telling++;
    const settings = settingsNow();
    story.begin(settings.prompt);
    say('Telling …');
    setTelling(true);
    ask({ type: 'tell', id: telling, settings });
  });
  stopButton.addEventListener('click', () => ask({ type: 'stop' }));
  say('Loading the model …');
  ask({ type: 'load', models: new URL('./', document.baseURI).href });
}

/** Why no model can run here; undefined when one can. */
async function whatIsMissing(): Promise<string | undefined> {
  if (!navigator.gpu) {
    return 'This browser has no WebGPU, which the model runs on. Use a recent Chrome, Edge, Safari or Firefox, over https or on localhost.';
  }
  if (!(await navigator.gpu.requestAdapter())) {
    return 'This browser has WebGPU, but found no adapter to run the model on. Switch hardware acceleration on, or use another browser.';
  }
  return undefined;
}

showSettings(readSettings(localStorage));
document.addEventListener('input', () => {
  writeSettings(localStorage, settingsNow());
  story.showRejected(fields.showRejected.checked);
});
const missing = await whatIsMissing();
if (missing === undefined) start();
else say(missing, true);
