/** What the form holds. */
export interface Settings {
  readonly prompt: string;
  readonly temperature: number;
  readonly seed: number;
  readonly maxTokens: number;
  /** Name of a drafter; one that the model does not have leaves it to the model. */
  readonly drafter: string;
  /** Rows of a round: the text so far and the guesses that are verified with it; `auto` leaves it to the width policy. */
  readonly width: 'auto' | '2' | '4' | '8' | '16';
  readonly showRejected: boolean;
}

/** What the form holds on a first visit. */
export const firstSettings: Settings = {
  prompt: 'Once upon a time, there was a little',
  temperature: 0.6,
  seed: 2,
  maxTokens: 200,
  drafter: 'eagle',
  width: '8',
  showRejected: true,
};

const key = 'forerun-demo-settings';

const choices: Readonly<Record<string, readonly unknown[]>> = {
  width: ['auto', '2', '4', '8', '16'],
};

/** The settings of the last visit; what is missing or of another type is as on a first one. */
export function readSettings(storage: Pick<Storage, 'getItem'>): Settings {
  let stored: Record<string, unknown> = {};
  try {
    stored = Object(JSON.parse(storage.getItem(key) ?? '{}')) as Record<string, unknown>;
  } catch {
    // Storage that is switched off or damaged is like none.
  }
  const fits = (name: string, first: unknown): boolean => {
    const value = stored[name];
    if (choices[name]) return choices[name].includes(value);
    return typeof value === typeof first && (typeof value !== 'number' || Number.isFinite(value));
  };
  const entries = Object.entries(firstSettings).map(([name, first]) => [
    name,
    fits(name, first) ? stored[name] : first,
  ]);
  return Object.fromEntries(entries) as unknown as Settings;
}

/** Keeps the settings for the next visit, where the browser lets it. */
export function writeSettings(storage: Pick<Storage, 'setItem'>, settings: Settings): void {
  try {
    storage.setItem(key, JSON.stringify(settings));
  } catch {
    // A full or forbidden storage costs the next visit its settings, and this one nothing.
  }
}
