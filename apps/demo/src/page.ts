/** The page: a form, a story with its rounds, a comparison, and a worker that computes them. */
import type { AdapterDescription, ModelLoadProgress } from 'forerun';
import { ComparisonView } from './comparison-table.ts';
import { byId } from './elements.ts';
import { offerDrafters, onAction, setRunning, settingsNow, showSettings } from './form.ts';
import type { Answer, Request } from './messages.ts';
import { RoundsView } from './rounds.ts';
import { readSettings, writeSettings } from './settings.ts';
import { StatisticsView } from './statistics.ts';
import { StoryView } from './story.ts';
import { drafterText } from './wording.ts';

const status = byId('status');
const progressBar = byId<HTMLProgressElement>('progress');
const output = byId('story');
const strip = byId('strip');
const story = new StoryView(output);
const statistics = new StatisticsView(byId('statistics'));
const comparison = new ComparisonView(byId('comparison'));
const rounds = new RoundsView(
  { section: byId('rounds'), strip, slider: byId('round'), words: byId('roundWords'), tree: byId('tree') },
  (index) => story.choose(index),
);

/** The request that is shown; answers to earlier ones are late and do not count. */
let asked = 0;
let adapterName = '';

function say(text: string, failed = false): void {
  status.textContent = text;
  status.classList.toggle('failed', failed);
}

function over(text: string, failed = false): void {
  progressBar.hidden = true;
  say(text, failed);
  setRunning(false);
}

function showProgress({ part, loadedBytes, totalBytes }: ModelLoadProgress): void {
  progressBar.hidden = false;
  progressBar.value = totalBytes === 0 ? 1 : loadedBytes / totalBytes;
  say(
    { model: 'Loading the model …', draft: 'Loading the draft model …', heads: 'Loading the heads that guess …' }[part],
  );
}

function describe({ kind, description, device, architecture, vendor }: AdapterDescription): string {
  const name = description || device || architecture || vendor || 'an unnamed adapter';
  return kind === 'software' ? `${name}, a software adapter: no GPU is used` : name;
}

function hear(answer: Answer): void {
  if ('id' in answer && answer.id !== undefined && answer.id !== asked) return;
  switch (answer.type) {
    case 'progress':
      showProgress(answer.progress);
      break;
    case 'ready':
      adapterName = describe(answer.adapter);
      offerDrafters(answer.drafters, answer.defaultDrafter);
      over(`Ready on ${adapterName}.`);
      break;
    case 'piece':
      progressBar.hidden = true;
      story.append(answer.piece);
      rounds.append(answer.piece);
      break;
    case 'end':
      statistics.end(answer.statistics);
      over(`Told on ${adapterName}.`);
      break;
    case 'comparing':
      say(`Comparing: guesses by ${drafterText(answer.drafter)} …`);
      break;
    case 'compared':
      comparison.append(answer.outcome);
      break;
    case 'comparison-end':
      over(`Compared on ${adapterName}.`);
      break;
    case 'stopped':
      over('Stopped.');
      break;
    case 'failure':
      over(answer.message, true);
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
  onAction((name) => {
    if (name === 'stop') return ask({ type: 'stop' });
    const settings = settingsNow();
    if (name === 'tell') {
      story.begin(settings.prompt);
      rounds.begin();
      statistics.begin();
    } else {
      comparison.begin();
    }
    say(name === 'tell' ? 'Telling …' : 'Comparing …');
    setRunning(true);
    return ask({ type: name, id: ++asked, settings });
  });
  rounds.listen(output);
  rounds.listen(strip);
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

const settings = readSettings(localStorage);
showSettings(settings);
story.showRejected(settings.showRejected);
document.addEventListener('input', () => {
  writeSettings(localStorage, settingsNow());
  story.showRejected(settingsNow().showRejected);
});
const missing = await whatIsMissing();
if (missing === undefined) start();
else say(missing, true);
