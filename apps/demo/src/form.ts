import { byId, element } from './elements.ts';
import type { Settings } from './settings.ts';
import { drafterText } from './wording.ts';

const fields = {
  prompt: byId<HTMLTextAreaElement>('prompt'),
  temperature: byId<HTMLInputElement>('temperature'),
  seed: byId<HTMLInputElement>('seed'),
  maxTokens: byId<HTMLInputElement>('maxTokens'),
  drafter: byId<HTMLSelectElement>('drafter'),
  width: byId<HTMLSelectElement>('width'),
  showRejected: byId<HTMLInputElement>('showRejected'),
};
const buttons = {
  tell: byId<HTMLButtonElement>('tell'),
  compare: byId<HTMLButtonElement>('compare'),
  stop: byId<HTMLButtonElement>('stop'),
};

/** Fills the form in. */
export function showSettings(settings: Settings): void {
  fields.prompt.value = settings.prompt;
  fields.temperature.value = String(settings.temperature);
  fields.seed.value = String(settings.seed);
  fields.maxTokens.value = String(settings.maxTokens);
  fields.width.value = settings.width;
  fields.showRejected.checked = settings.showRejected;
  offerDrafters([settings.drafter], settings.drafter);
}

/** What the form holds now. */
export function settingsNow(): Settings {
  return {
    prompt: fields.prompt.value,
    temperature: fields.temperature.valueAsNumber,
    seed: fields.seed.valueAsNumber,
    maxTokens: fields.maxTokens.valueAsNumber,
    drafter: fields.drafter.value,
    width: fields.width.value as Settings['width'],
    showRejected: fields.showRejected.checked,
  };
}

/** Offers the drafters that the model has. The one that was chosen stays so if it is among them. */
export function offerDrafters(names: readonly string[], fallback: string): void {
  const chosen = fields.drafter.value;
  const options = names.map((name) => {
    const option = element('option', '', drafterText(name));
    option.value = name;
    return option;
  });
  fields.drafter.replaceChildren(...options);
  fields.drafter.value = names.includes(chosen) ? chosen : fallback;
}

/** Whether something runs: then it can be stopped, and nothing else can be begun. */
export function setRunning(running: boolean): void {
  buttons.tell.disabled = running;
  buttons.compare.disabled = running;
  buttons.stop.disabled = !running;
}

/** Calls back when the form is sent and valid, when the comparison is asked for, and on stop. */
export function onAction(action: (name: 'tell' | 'compare' | 'stop') => void): void {
  const form = byId<HTMLFormElement>('form');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    action(event.submitter === buttons.compare ? 'compare' : 'tell');
  });
  buttons.stop.addEventListener('click', () => action('stop'));
}
